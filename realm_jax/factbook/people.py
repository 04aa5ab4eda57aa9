"""How a person's name is read out of a field of the Factbook, which writes surnames in capitals."""

import re

from realm_jax.factbook.answers_in_fields import only, outside

_TITLES = """
acting administrator admiral affairs air ambassador ambassador-at-large ambassador-designate amir and ao
apostolic appointed archbishop assembly australia ayatollah bailiff brigadier capt. captain cardinal caretaker
chairman chairperson chairwoman chancellor charge chargé chief china co-prince col. colonel commander commission
commissioner commissioner-general commonwealth confederation consul council counselor crown d'affaires dame
dato' datuk de deputy designate dr dr. duke elder emir emperor executive facto federal field first foreign gen
gen. general gnu government governor governor-general grand haji head her hereditary high highness his honorable
interim island king le leader lieutenant lieutenant-governor lord lt. maj. majesty major malo mann marshal mayor
military minister ministers mr. mrs. ms. nuncio o of paramount permanent pope prefect premier president
presidential prime prince princess queen rear regent representative republic resident ret. royal rtd. secretary
secretary-general seri shaykh sheikh sir speaker sr. sri state sultan superior supreme swiss taliban tan
taoiseach territorial the transition transitional ulu vice vice-admiral
""".split()  # noqa: SIM905
"""Words that may come before a name: offices, ranks, courtesies, and whose they are."""
_IN_OFFICE = r"\((?:since|appointed|elected|reelected|sworn|from)\b"
_NAME = r"[^\W\da-z_]{2,}(?:['-][^\W\da-z_]+)*"  # in capitals


def authors(text: str) -> list[str]:
    """Up to three people, each of whom is accepted."""
    text = outside(text)
    if re.search(r"\d|\bbased\b|\bunknown\b|\badapted\b|\barranged\b|\btraditional\b|\bdisputed\b|\bno \b", text):
        return []
    people = [person.strip() for person in re.split(r",? and |, | & | or ", text)]
    names = [len(person.split()) >= 2 and person[0].isupper() and person.split()[-1][0].isupper() for person in people]
    if len(people) > 3 or not all(names) or "," in "".join(people):
        return []
    return only(people + [alias for person in people for alias in surname(person)])


def surname(person: str) -> list[str]:
    """The Factbook writes surnames in capitals: [SURNAME], or [] where that tells nothing more or is too short."""
    runs = re.findall(rf"(?<![\w'-])(?:al-)?{_NAME}(?: {_NAME})*\b", person)
    longest = max((run for run in runs if run.removeprefix("al-").isupper()), key=len, default="")
    return [longest] if len(longest) >= 4 and longest != person else []


def holder(text: str) -> list[str]:
    """`President Gitanas NAUSEDA (since 12 July 2019)`: the one person in office."""
    match = re.match(rf"([^();,]+?) {_IN_OFFICE}", text.split("\n")[0])
    if not match:
        return []
    words = match[1].split()
    while words and words[0].lower().rstrip(",") in _TITLES:
        words.pop(0)
    person = " ".join(words).split(" of ")[0]
    if not re.search(r"[A-Z]{2}", person) or len(words) > 6:
        return []
    return only([person, *surname(person)])


def sole_holder(text: str) -> list[str]:
    """As `holder`, for an office that one person holds; a remark after the name does not count."""
    others = re.findall(_IN_OFFICE, text.split("represented by")[0])
    return holder(text) if len(others) == 1 else []


def representative(text: str) -> list[str]:
    """`King CHARLES III (since ...); represented by Governor General Stanley JOHN (since ...)`: the latter."""
    parts = text.split("represented by ")
    return sole_holder(parts[1]) if len(parts) == 2 else []
