"""Templates within sentences, as a reader of the page sees them: numbers, units, dates, signs and words."""

import calendar
import re
from collections.abc import Callable, Mapping, Sequence

from realm_jax.text.sentences import word_set

AFTER_DIGIT = "\ue003"
"""Begins a text that is set apart from a digit before it: in `7{{frac|1|2}}`."""
GROUP = "\ue006"
"""Stands between the groups of digits of a number."""
Reader = Callable[[Sequence[str], Mapping[str, str]], str]
"""Takes the unnamed values, in order, and the named ones."""
_NUMBER = re.compile(r"(?P<sign>[-−–+]?)(?P<whole>\d+)(?P<rest>(?:\.\d+)?)")
_SIGNS = {
    "'": "'", "'s": "'s", "'\"": "'\"", "-\"": '"', "·": " · ", "dot": " · ", "middot": " · ", "bullet": " • ",
    "!": "|", "pipe": "|", "=": "=", "-": "-", "minus": "−", "times": "×", "x": "×", "±": "±", "pm": "±", "degree": "°",
    "nbsp": " ", "space": " ", "spaces": " ", "thinsp": " ", "thin space": " ", "hairsp": " ", "nnbsp": " ",
    "ndash": "–", "en dash": "–", "endash": "–", "–": "–", "snd": " – ", "snds": " – ", "spnd": " – ", "sndash": " – ",
    "spaced ndash": " – ", "spaced en dash": " – ", "dash": " – ", "mdash": "—", "em dash": "—", "emdash": "—",
    "—": "—", "mdashb": "—", "spaced mdash": " — ", "...": "...", "ellipsis": "...", "half": "1/2", "eqm": "⇌",
    "zwsp": "", "zwnj": "", "shy": "", "wbr": "", "clear": "", "sect": "§",
}  # fmt: skip
"""Templates that are a sign, for any values."""
_SHOWN_FIRST = word_set(
    "nowrap nobr small smaller big larger large larger em strong quote blockquote cquote quotation sic abbr mvar math",
    "visible gloss keypress key code tt var math-text plainlist-text nihongo nihongo2 noitalic nwr bold ill nobold sc",
    "smallcaps vanchor linktext tooltip bquote center mono samp kbd nobreak noitalics sup sub iw lc uc ucfirst lcfirst",
    "birth-date death-date start-date end-date birth-date/age death-date/age dob currency-amount",
) | {"interlanguage link", "visible anchor", "small caps", "hover title", "nowrap begin", "death-date and age",
     "birth-date and age", "start-date and age"}  # fmt: skip
_SHOWN_LAST = word_set("lang langx transl transliteration rtl-lang nastaliq resize color lang-sh") | {"font color"}
_LANGUAGE = re.compile(r"lang-[a-z-]+|script(?:/.*)?|zh-full|wikt-lang")
_UNITS = {
    "C": "°C", "F": "°F", "sqmi": "sq mi", "sqkm": "km²", "km2": "km²", "m2": "m²", "cm2": "cm²", "m3": "m³",
    "km3": "km³", "cm3": "cm³", "ft2": "sq ft", "sqft": "sq ft", "ft3": "cu ft", "cuft": "cu ft", "USgal": "US gallons",
    "oilbbl": "barrels", "oilbbl/d": "barrels per day", "PD/sqmi": "per sq mi", "PD/km2": "per km²", "LT": "long tons",
    "ST": "short tons", "MT": "tonnes",
}  # fmt: skip
"""Units that {{convert}} calls otherwise than its readers; it takes all else as it is shown: km, ft, lb."""
_POWER = re.compile(r"(e3|e6|e9|k(?=oil)|[MGT](?=oil|cuft|USgal))(.+)")
_POWERS = {"e3": "thousand", "k": "thousand", "e6": "million", "M": "million", "e9": "billion", "G": "billion",
           "T": "trillion"}  # fmt: skip
_PARTS = {("ft", "in"), ("yd", "ft"), ("mi", "yd"), ("mi", "furlong"), ("mi", "chain"), ("lb", "oz"), ("st", "lb"),
          ("LT", "LCwt"), ("LCwt", "qtr")}  # fmt: skip
"""Units of one measure: 6 ft 4 in."""
_RANGES = {"to": " to ", "and": " and ", "by": " by ", "or": " or ", "-": "–", "–": "–", "x": " × ", "xx": " × ",
           "*": " × ", "×": " × ", "+/-": " ± ", "±": " ± ", "+": " + ", ",": ", ", "to about": " to about ",
           "and(-)": " and ", "to(-)": " to ", "by(-)": " by ", "or(-)": " or ", "-(-)": "–"}  # fmt: skip
_CURRENCIES = {
    "us$": "US$", "usd": "US$", "usdconvert": "US$", "a$": "A$", "aud": "A$", "c$": "C$", "ca$": "C$", "cad": "C$",
    "nz$": "NZ$", "nzd": "NZ$", "hk$": "HK$", "hkd": "HK$", "s$": "S$", "sgd": "S$", "nt$": "NT$", "r$": "R$",
    "gbp": "£", "£": "£", "pound sterling": "£", "eur": "€", "€": "€", "euro": "€", "inr": "₹", "₹": "₹",
    "indian rupee": "₹", "inrconvert": "₹", "rs": "₹", "jpy": "¥", "¥": "¥", "yen": "¥", "cny": "CN¥", "cn¥": "CN¥",
    "cnyconvert": "CN¥", "rmb": "CN¥", "krw": "₩", "₩": "₩", "rub": "₽", "₽": "₽", "chf": "CHF ", "php": "₱", "₱": "₱",
    "ils": "₪", "₪": "₪", "try": "₺", "₺": "₺", "uah": "₴", "ngn": "₦", "zar": "R", "esp": "₧",
}  # fmt: skip
_MAGNITUDES = {"k": " thousand", "l": " lakh", "m": " million", "c": " crore", "b": " billion", "t": " trillion",
               "lc": " lakh crore"}  # fmt: skip
_GAUGES = {"standard": "1,435 mm", "sg": "1,435 mm", "std": "1,435 mm"}
_SHIPS = word_set("uss hms ss rms mv ms mt hmas hmcs hmnzs usat usns usrc uscgc css ins gts sms hdms hnoms hswms")
_NUCLIDES = word_set("nuclide nuclide2 simplenuclide simplenuclide2 simple-nuclide")
_NOTES = re.compile(
    r"(?:v?cite|cit|citation|harv|sfn|rp|r|ref|efn|note|nb|fn|ipa|respell|audio|pronunciation|coord|isbn|issn|oclc|doi"
    r"|pmid|pmc|jstor|arxiv|bibcode|zbl|lccn|asin|page|pp?\.|anchor|main|see|further|about|other|redirect|distinguish"
    r"|for|info|tax|automatic taxobox|nav|sidebar|portal|commons|wiki|sister|official|imdb|flag|country|legend|toc|use"
    r"|clarify|update|dubious|dead|webarchive|wayback|google books|youtube|gutenberg|librivox|multiple|image|wide|css"
    r"|bar|chart|graph|col|div|ubl|hlist|plainlist|unbulleted|increase|decrease|steady|hidden|sort|tree|chess|football"
    r"|fb|football box|medal|election|clade|familytree|ahnentafel|s-|start|end|succession|defaultsort|#tag|short desc"
    r"|inflation.fn|inflation/fn|better|verify|failed|full|who|when|which|where|by whom|according|expand|refn|lsj|sep"
    r"|iep|osm|eb1911|in lang|subject|authority|family tree|listen|video|hs|ntsh|sorthide|sfnp|pp-|fossil|vr|cn|fact)"
    r"(?![^\W\d_])|.*\b(?:inline|needed|box|icon|source|ref|refn|cite|citation|author|topics|link|links)\b"
    r"|(?:cite|harv|citation|sfn|infobox|ipa|ref|nav|flag)"
)
"""Beginnings of the names of templates that belong to no sentence."""
_COMPUTED = re.compile(
    r"current|local(?:year|day|month)|age\b|inflation|time ?ago|years? ago|#expr|#time|.*\bpopulation\b"
)
_LONGEST = 100


def reader_of(name: str) -> Reader | None:
    """The function that makes text of the values of the template `name`, given in small letters; None where it is not
    known."""
    if re.fullmatch(r"\d+/\d+", name):
        return _around(AFTER_DIGIT + name)
    if _LANGUAGE.fullmatch(name):
        return _first if name.startswith(("lang-", "zh")) else _last
    return _READERS.get(name)


def is_note(name: str) -> bool:
    """Whether a template of this name, in small letters, says nothing that its sentence needs."""
    return _NOTES.match(name) is not None


def is_computed(name: str) -> bool:
    """Whether the page lacks the number that a template of this name shows."""
    return _COMPUTED.match(name) is not None


def grouped(number: str) -> str:
    """Digits as a reader sees them: 12,345.6."""
    match = _NUMBER.fullmatch(number.strip())
    if not match or match["whole"].startswith("0") or not match["whole"].isascii() or len(number) > _LONGEST:
        return number
    return f"{match['sign']}{int(match['whole']):,}{match['rest']}".replace(",", GROUP)


def _float(number: str) -> float:
    return float(number.replace(",", "").replace(GROUP, ""))


def _first(plain: Sequence[str], named: Mapping[str, str]) -> str:
    return plain[0] if plain else ""


def _last(plain: Sequence[str], named: Mapping[str, str]) -> str:
    return plain[-1] if plain else ""


def _format_number(plain: Sequence[str], named: Mapping[str, str]) -> str:
    number, how = plain[0], plain[1].upper() if len(plain) > 1 else ""
    return number.replace(",", "").replace(GROUP, "") if how == "R" else number if how == "NOSEP" else grouped(number)


def _fraction(plain: Sequence[str], named: Mapping[str, str]) -> str:
    """`{{frac|7|1|2}}` is 7 1/2, `{{frac|3}}` 1/3."""
    values = [value for value in plain if value][:3]
    if not values:
        return "/"
    *whole, above, below = values if len(values) > 1 else ["1", *values]
    return "".join([*(f"{value} " for value in whole), "" if whole else AFTER_DIGIT, f"{above}/{below}"])


def _val(plain: Sequence[str], named: Mapping[str, str]) -> str:
    """`{{val|5.98|0.01|e=24|u=kg}}` is 5.98±0.01×10^24 kg."""
    text = grouped(plain[0]) if plain else ""
    if len(plain) > 2:
        text += f"+{plain[1].lstrip('+')}−{plain[2].lstrip('-−')}"
    elif len(plain) > 1:
        text += plain[1] if plain[1].startswith("(") else f"±{plain[1]}"
    if power := named.get("e"):
        text += f"{'×' if text else ''}10^{power}"
    unit = named.get("ul") or named.get("u") or ""
    per = named.get("upl") or named.get("up") or ""
    unit = f"{_unit(unit) if unit else ''}{f'/{per}' if per else ''}"
    between = "" if unit.startswith(("%", "°", "/")) and not unit.startswith("°C") else " "
    return f"{named.get('p', '')}{text}{named.get('s', '')}{between if unit else ''}{unit}"


def _gaps(plain: Sequence[str], named: Mapping[str, str]) -> str:
    power = f"×10^{named['e']}" if named.get("e") else ""
    return grouped("".join(plain)) + power + (f" {named['u']}" if named.get("u") else "")


def _power_of_ten(plain: Sequence[str], named: Mapping[str, str]) -> str:
    return f"×10^{plain[0]}" if plain else ""


def converted(plain: Sequence[str], named: Mapping[str, str] = {}) -> str:
    """`{{convert|3|to|5|km|mi}}` is "3 to 5 km", `{{convert|6|ft|4|in|cm}}` "6 ft 4 in"; the converted value is left
    out."""
    if len(plain) < 2:
        return grouped(plain[0]) if plain else ""
    text, at = _measure(plain[0]), 1
    while at + 2 < len(plain) and plain[at] in _RANGES:
        text += f"{_RANGES[plain[at]]}{_measure(plain[at + 1])}"
        at += 2
    unit = plain[at]
    text += f" {_unit(unit)}"
    while at + 2 < len(plain) and (unit, plain[at + 2]) in _PARTS:
        unit = plain[at + 2]
        text += f" {_measure(plain[at + 1])} {unit}"
        at += 2
    return text


def _measure(number: str) -> str:
    """`5+1/2` and `5+1//2` are 5 1/2, `1.5e6` is 1.5×10^6."""
    number = re.sub(r"(?<=\d)\+(?=\d+/)", " ", number.strip()).replace("//", "/")
    return grouped(re.sub(r"(?<=\d)[eE]\+?(-?\d+)$", r"×10^\1", number))


def _unit(code: str) -> str:
    code = code.removesuffix("-change")  # of degrees by which a temperature differs
    if power := _POWER.match(code):
        return f"{_POWERS[power[1]]} {_unit(power[2])}"
    return _UNITS.get(code, code)


def _height(plain: Sequence[str], named: Mapping[str, str]) -> str:
    units = ("m", "cm", "ft", "in", "st", "lb", "kg")
    return " ".join(f"{named[unit]} {unit}" for unit in units if named.get(unit)) or " ".join(plain)


def _gauge(plain: Sequence[str], named: Mapping[str, str]) -> str:
    value = plain[0] if plain else ""
    parts = re.findall(r"(\d[\d.,+/]*)\s*([a-z]+)", value)
    return _GAUGES.get(value.lower()) or " ".join(f"{_measure(number)} {unit}" for number, unit in parts) or value


def _density(plain: Sequence[str], named: Mapping[str, str]) -> str:
    """People, area, unit; how many digits are shown where `prec` does not say is another matter."""
    try:
        people, area = map(_float, plain[:2])
        return f"{people / area:,.{int(named.get('prec', 0))}f}/{_unit(plain[2])}"
    except (ValueError, IndexError, ZeroDivisionError):
        return ""


def _percentage(plain: Sequence[str], named: Mapping[str, str]) -> str:
    try:
        part, whole = map(_float, plain[:2])
        return f"{100 * part / whole:.{int(plain[2]) if len(plain) > 2 else 0}f}%"
    except (ValueError, ZeroDivisionError):
        return ""


def _formula(plain: Sequence[str], named: Mapping[str, str]) -> str:
    """`{{chem|Si|4|4-}}`: a charge after the count of atoms is Si4^4-."""
    return re.sub(r"(?<=\d)\|(?=\d)", "^", "|".join(plain)).replace("|", "")


def _degrees(plain: Sequence[str], named: Mapping[str, str]) -> str:
    *values, side = (*plain, "") if not plain or plain[-1][-1:].isdigit() else plain
    return "".join(f"{value}{sign}" for value, sign in zip(values, "°′″")) + side


def _ordinal(plain: Sequence[str], named: Mapping[str, str]) -> str:
    if not plain or not plain[0].isdigit():
        return _first(plain, named)
    tens, ones = divmod(int(plain[0][-2:]), 10)
    return grouped(plain[0]) + ("th" if tens == 1 else {1: "st", 2: "nd", 3: "rd"}.get(ones, "th"))


def _sign_before(sign: str) -> Reader:
    def read(plain: Sequence[str], named: Mapping[str, str]) -> str:
        magnitude = _MAGNITUDES.get(plain[1].lower(), "") if len(plain) > 1 else ""
        return f"{sign}{grouped(plain[0])}{magnitude}" if plain else sign

    return read


def _currency(plain: Sequence[str], named: Mapping[str, str]) -> str:
    """`{{currency|123|USD}}`"""
    code = (plain[1] if len(plain) > 1 else named.get("code", "USD")).lower()
    return f"{_CURRENCIES.get(code, f'{code.upper()} ')}{grouped(plain[0])}" if plain else ""


def _old_money(plain: Sequence[str], named: Mapping[str, str]) -> str:
    values = {unit: named.get(unit) or (plain[i] if i < len(plain) else "") for i, unit in enumerate("lsd")}
    return " ".join(
        f"£{grouped(value)}" if unit == "l" else f"{value}{unit}" for unit, value in values.items() if value
    )


def _date(plain: Sequence[str], named: Mapping[str, str]) -> str:
    """Year, month, day by numbers, or a date in words; the day first where `df` says so."""
    values = list(plain)
    if values and (iso := re.fullmatch(r"(\d{4})-(\d\d)(?:-(\d\d))?", values[0])):
        values = [value for value in iso.groups() if value]
    if not values or not re.fullmatch(r"[-−]?\d{1,4}", values[0]):
        return values[0] if values else ""
    year, month, day = (*values[:3], "", "")[:3]
    if not re.fullmatch(r"0?[1-9]|1[0-2]", month):
        month, day = (month, day) if month[:3].title() in calendar.month_abbr else ("", "")
    elif month:
        month = calendar.month_name[int(month)]
    day = day.lstrip("0") if day.isdigit() and len(day) < 3 else ""
    if year[0] in "-−":
        year = f"{int(year[1:])} BC"
    if not (month and day):
        return f"{month} {year}" if month else year
    day_first = named.get("df", "").lower() in ("y", "yes", "1", "true") or named.get("format", "").lower() == "dmy"
    return f"{day} {month} {year}" if day_first else f"{month} {day}, {year}"


def _as_of(plain: Sequence[str], named: Mapping[str, str]) -> str:
    if named.get("alt"):
        return named["alt"]
    date = _date(plain, {"df": "n" if named.get("df", "").upper() == "US" else "y"})
    begin = "" if named.get("bare") else "Since " if named.get("since") else "As of "
    return f"{begin.lower() if named.get('lc') else begin}{date}{named.get('post', '')}"


def _old_style(plain: Sequence[str], named: Mapping[str, str]) -> str:
    """`{{OldStyleDate|14 July|1790|2 July}}`"""
    day, year, old = (*plain, "", "", "")[:3]
    return " ".join(filter(None, [day, f"[O.S. {old}]" if old else "", year]))


def _years(mark: str) -> Reader:
    """ "c. 1870 – c. 1880" or, with other marks, "fl. 1200–1210"."""
    joint = f" – {mark}" if mark == "c. " else "–"
    return lambda plain, named: mark + joint.join([value for value in plain if value][:2])


def _around(before: str, after: str = "") -> Reader:
    return lambda plain, named: f"{before}{plain[0] if plain else ''}{after}"


def _verse(plain: Sequence[str], named: Mapping[str, str]) -> str:
    values = [value for value in plain if value]
    return " ".join(values[: 3 if values and values[0].isdigit() else 2])


_READERS: dict[str, Reader] = (
    {name: lambda plain, named, sign=sign: sign for name, sign in _SIGNS.items()}
    | dict.fromkeys(_SHOWN_FIRST, _first)
    | dict.fromkeys(_SHOWN_LAST, _last)
    | {name: _sign_before(sign) for name, sign in _CURRENCIES.items()}
    | {name: _around(f"{name.upper()} ") for name in _SHIPS}
    | dict.fromkeys(_NUCLIDES, lambda plain, named: "-".join(plain[:2]))
    | dict.fromkeys(("formatnum", "nts", "number", "num", "nombre", "unité", "nb", "fmtn", "commas"), _format_number)
    | dict.fromkeys(("frac", "sfrac", "fraction", "fract", "split fraction", "intfrac", "frac2", "tfrac"), _fraction)
    | dict.fromkeys(("convert", "cvt", "conv"), converted)
    | dict.fromkeys(("height", "weight"), _height)
    | dict.fromkeys(("railgauge", "track gauge", "rail gauge", "gauge"), _gauge)
    | dict.fromkeys(("pop density", "popdensity"), _density)
    | dict.fromkeys(("percentage", "percent", "pct"), _percentage)
    | dict.fromkeys(("deg", "dms", "deg2dms"), _degrees)
    | dict.fromkeys(("e", "x10^", "e-sp"), _power_of_ten)
    | {"10^": _around("10^"), "pow": lambda plain, named: "^".join(plain[:2])}
    | dict.fromkeys(("ordinal", "nth", "ord"), _ordinal)
    | dict.fromkeys(
        ("start date", "end date", "birth date", "death date", "date", "dts", "release date", "film date", "bda", "dda")
        + ("start date and age", "end date and age", "birth date and age", "death date and age", "launch date")
        + ("birth year and age", "death year and age", "birth date and age2", "death date and age2", "sdate", "dtsa"),
        _date,
    )
    | dict.fromkeys(("oldstyledate", "old style date", "oldstyledatedy", "oldstyledatenoyear"), _old_style)
    | dict.fromkeys(("circa", "c.", "ca.", "ca"), _years("c. "))
    | dict.fromkeys(("floruit", "fl.", "fl"), _years("fl. "))
    | {"reign": _years("r. "), "born": _years("b. "), "died": _years("d. "), "lived": _years("")}
    | {"val": _val, "gaps": _gaps, "gapnum": _gaps, "currency": _currency, "£sd": _old_money, "as of": _as_of}
    | dict.fromkeys(("bibleverse", "bibleref", "bibleref2", "bibleverse nb", "bible verse"), _verse)
    | dict.fromkeys(("harvtxt", "harvcoltxt"), lambda plain, named: f"{' & '.join(plain[:-1])} ({_last(plain, named)})")
    | {"us patent": lambda plain, named: f"U.S. Patent {grouped(_first(plain, named))}"}
    | {"ship": lambda plain, named: " ".join(filter(None, plain[:2]))}
    | {"sclass": lambda plain, named: f"{plain[0]}-class {plain[1]}" if len(plain) > 1 else _first(plain, named)}
    | dict.fromkeys(("chem", "chem2", "ce"), _formula)
    | dict.fromkeys(("angbr", "angle bracket", "vr"), _around("⟨", "⟩"))
    | dict.fromkeys(("radic", "sqrt"), _around("√"))
    | {"bc": _around("", " BC"), "bce": _around("", " BCE"), "ce": _around("", " CE"), "ad": _around("AD ")}
)
