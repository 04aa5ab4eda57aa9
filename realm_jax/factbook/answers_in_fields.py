"""How a short answer is read out of a field of the Factbook: one function per form of field.

Each takes the text of a field and returns the accepted answers, the one with the text's own words first, or []
where the field has no single short answer.
"""

import re

MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DATE = rf"\d{{1,2}} {MONTH} \d{{4}}"
_UNKNOWN = re.compile(
    r"^(?:none|n/a|na|no|not|unknown|unclear|multiple|various|see|vacant|disputed|traditional|to be|unnamed)\b",
    re.IGNORECASE,
)

_LANGUAGES = (
    *("Albanian", "Arabic", "Belarusian", "Comorian", "Dutch", "Dyer-Ball", "Eitel", "English", "Fijian", "Finnish"),
    *("French", "German", "Greek", "Haitian", "Hindi", "Italian", "Papiamento", "Portuguese", "Romansh", "Russian"),
    *("Serbian", "Sinhala", "Somali", "Spanish", "Swedish", "Tamil", "Tetum", "Turkish"),
)
"""Remarks in brackets behind a name that tell its language or its spelling."""


def is_answer(text: str) -> bool:
    """Whether the text is short and says something."""
    return (
        bool(text)
        and len(text) <= 45
        and len(text.split()) <= 7
        and not _UNKNOWN.search(text)
        and any(map(str.isalnum, text))
    )


def only(answers: list[str]) -> list[str]:
    """Without repetitions and without texts that are no answer; nothing when the first of them is none."""
    if not answers or not is_answer(answers[0]):
        return []
    return list(dict.fromkeys(filter(is_answer, answers)))


def strip_quotes(text: str) -> str:
    return text.strip(" ,;.").strip('"').strip()


def outside(text: str) -> str:
    """The text without brackets and their content."""
    while (shorter := re.sub(r"\s*\([^()]*\)", "", text)) != text:
        text = shorter
    return text.strip(" ,;")


def items(text: str, separators: str = ",;") -> list[str]:
    """The text cut at separators outside of brackets."""
    parts, depth = [""], 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        between_digits = text[i - 1 : i].isdigit() and text[i + 1 : i + 2].isdigit()
        if depth <= 0 and char in separators and not between_digits:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def name(text: str) -> list[str]:
    """`Parliament (Parlement)`, `Viti (Fijian)/ Fiji (English)`: the names, also those in brackets."""
    line = text.split("\n")[0]
    outer, inner = outside(line), re.findall(r"\(([^()]*)\)", line)
    if len(items(line, ";")) != 1 or len(inner) > 3 or "(" in outer or "," in outer:
        return []
    outer, *others = map(strip_quotes, re.split(r" - |/ ?| or (?=[A-Z])", outer))
    aliases = [strip_quotes(part) for alias in inner for part in re.split(r" - |/| or ", alias) if "," not in alias]
    good = [alias for alias in aliases if alias[:1].isupper() and not alias.startswith(_LANGUAGES)]
    return only([part for part in (outer, *others, *good) if part in line]) if outer in line else []


def capital(text: str) -> list[str]:
    """Several capitals are all accepted."""
    line = text.split("\n")[0]
    if line == "Washington, D.C.":
        return ["Washington, D.C.", "Washington"]
    cities = [re.sub(r" in [A-Z]\w+$", "", outside(part)) for part in items(line)]
    return only(cities) if all(is_answer(city) and city[0].isupper() for city in cities) else []


def quoted_title(text: str) -> list[str]:
    """`"Mer Hayrenik" (Our Fatherland)`: the title and its translation."""
    match = re.match(r'"([^"]+)"(?:\s*\(([^()]+)\))?', text)
    if not match or "\n" in text or text.count('"') > 2:
        return []
    translations = [strip_quotes(part) for part in (match[2] or "").split(";")]
    return only([strip_quotes(match[1]), *(part for part in translations if part[:1].isupper())])


def first_date(text: str) -> list[str]:
    """A field that opens with its one full date."""
    match = re.match(rf"({DATE})\b", text)
    return [match[1]] if match and len(re.findall(DATE, text)) == 1 else []


def constitution(text: str) -> list[str]:
    """`..., latest adopted 12 November 1995, effective ...`"""
    latest = text.split("latest")[-1] if text.count("latest") == 1 else text
    dates = re.findall(rf"\badopted (?:by \w+ )?({DATE})\b", latest)
    several = "latest" not in text and ("previous" in text or ";" in text)
    return dates if len(dates) == 1 and not several else []


def holiday(text: str) -> list[str]:
    """`Independence Day, 12 June (1898)`: day and month."""
    dates = re.findall(rf"\b(\d{{1,2}} {MONTH})\b", text)
    return dates if len(dates) == 1 and ";" not in text else []


def summit(text: str) -> list[str]:
    """`Doi Inthanon 2,565 m`, `Margherita Peak on Mount Stanley 5,110 m`: the place, with and without where it is."""
    line = text.split("\n")[0]
    match = re.fullmatch(r"([^\d;:]+?)\s+-?\d[\d,.]* ?(?:m|meters)?", outside(line))
    if not match or re.search(r"\b(?:was|unnamed|location|range)\b|,", match[1]):
        return []
    place = match[1]
    translations = re.findall(r"\(([A-Z][^();,\"]+)\)", line)
    good = [alias for alias in translations if len(alias.split()) <= 4 and not alias.startswith("Kurdish")]
    return only([place, re.split(r" (?:on|in) ", place)[0], *good]) if place[0].isupper() else []


def height(text: str) -> list[str]:
    """`Doi Inthanon 2,565 m`: how high it is; a small number is an answer only with its unit."""
    match = re.fullmatch(r"[^\d;:]+?\s+(\d[\d,.]*) m", outside(text.split("\n")[0]))
    return with_unit(f"{match[1]} m") if match else []


def with_unit(text: str) -> list[str]:
    """`2,565 m`: with and, when the number is large enough to be alone, without the unit."""
    number = text.split(" ")[0]
    return list(dict.fromkeys([text, number] if "," in number else [text]))


def inland(text: str) -> list[str]:
    """As `summit`, but no part of the sea."""
    answers = summit(text)
    return [] if re.search(r"\b(?:Ocean|Seas?|Gulf|Bay|Channel|Strait)\b", text) and "Dead Sea" not in text else answers


def currency(text: str) -> list[str]:
    """`Danish kroner (DKK) per US dollar -`: name and code."""
    match = re.match(r"([^();/]+?)(?: \((\w{3})[^)]*\))? per US dollar", text)
    return only([match[1], *filter(None, [match[2]])]) if match and " or " not in match[1] else []


def demonym(text: str) -> list[str]:
    """`Bermudian(s)`, `Saint Vincentian(s) or Vincentian(s)`, `Frenchman(men), Frenchwoman(women)`."""
    nouns = [outside(part) for part in re.split(r",\s*(?:or\s+)?|;\s*| or ", text.split("\n")[0])]
    good = [noun for noun in nouns if is_answer(noun) and noun[0].isupper() and len(noun.split()) <= 3]
    return only(good) if len(good) == len(nouns) <= 3 else []


def domain(text: str) -> list[str]:
    """`.bh`; not where the letters are an English word, which any sentence may begin with."""
    codes = re.findall(r"(?<![\w.])\.[a-z]{2}\b", text)
    word = codes and codes[0] in ".am .as .at .be .by .do .id .in .is .it .me .my .no .so .to .us"
    return codes if len(codes) == 1 and ";" not in text and not word else []


def listed(text: str) -> list[str]:
    """A list of up to four names, each of which is accepted."""
    parts = [outside(strip_quotes(part)) for part in items(text.split("\n")[0])]
    parts = [re.sub(r"^(?:an?|the|and) ", "", part) for part in parts]
    good = all(is_answer(part) and not part.startswith(("each ", "two ")) for part in parts)
    return only(parts) if good and 0 < len(parts) <= 4 else []


def first_of_longest(text: str) -> list[str]:
    """`Mekong (shared with ...) - 4,350 km; ...`: the name of the first, if that is the longest or largest."""
    sizes = re.findall(r"(\d[\d,]*)(?:-[\d,]+)? (?:sq )?km\b", text.split("\n")[0])
    numbers = [int(size.replace(",", "")) for size in sizes]
    match = re.match(r"(.+?)\s+(?:-\s+)?\d[\d,-]*\s+(?:sq )?km\b", items(text.split("\n")[0], ";")[0])
    if not match or numbers[0] < max(numbers) or ":" in match[1]:
        return []
    label = re.sub(r"\s*\((?:shared|endorheic|[a-z])[^()]*\)", "", match[1])
    label = re.sub(r"\s+river (?:source|mouth)(?: and (?:source|mouth))?| river$|\*", "", label.strip(" -"))
    return name(label.strip(" -"))


def largest_city(text: str) -> list[str]:
    """`1.936 million LA PAZ (capital), 1.820 million Santa Cruz`: the one with the most people."""
    cities = re.findall(r"(\d[\d.,]*)( million)? ([^\d(),;]+)", text.split("\n")[0])
    sizes = {
        place.strip(" ."): float(number.strip(",.").replace(",", "")) * (1e6 if million and "," not in number else 1)
        for number, million, place in cities
    }
    return only([max(sizes, key=sizes.get)]) if sizes else []


def quantity(text: str) -> list[str]:
    """`41,277 sq km`, `68,512,806 (2025 est.)`: the number with and without its unit."""
    match = re.match(r"\d[\d,.]*\d(?: (?:sq km|km|m))?(?= \(|$|;)", text)
    return with_unit(match[0]) if match and "million" not in text else []


def people_share(text: str) -> list[str]:
    """`Tajik 84.3% (includes ...), Uzbek 13.8%`: the first, which is the largest."""
    parts = items(text.split("\n")[0])
    shares = [re.match(r"([^\d%]+?) (?:\([^()]*\) )?(\d+(?:\.\d+)?)%", part) for part in parts]
    if len(parts) < 2 or not shares[0]:
        return []
    largest = max(float(share[2]) for share in shares if share)
    label = outside(shares[0][1])
    clear = label[0].isupper() and not re.search(r"[()]| and | at least|approximately|%", label)
    return only([label]) if clear and float(shares[0][2]) == largest else []


def official_language(text: str) -> list[str]:
    """The one language that is called official."""
    official = [part for part in items(text.split("\n")[0]) if re.search(r"\bofficial\b", part)]
    match = re.match(r"([A-Z][\w' -]*?)(?: [\d.]+%)? \(official\b(?! and)", official[0]) if len(official) == 1 else None
    if not match or re.search(r"state language|national language|[Ll]anguages:| only\b", text):
        return []
    return only(re.split(r" or ", match[1]))


def agency(text: str) -> list[str]:
    """`Polish Space Agency (POLSA; established 2014) (2025)`: name and acronym of the only one."""
    parts = items(re.sub(r"\s*\(20\d\d\)$", "", text.split("\n")[0]), ";")
    match = re.match(r"([^()]+?) \(([^()]*)\)", parts[0])
    if len(parts) != 1 or not match or not re.search(r"[A-Z][a-z]", match[1]):
        return []
    return only([match[1].removeprefix("the "), *re.findall(r"(?<![\w-])[A-Z]{3,8}(?![\w-])", match[2])])
