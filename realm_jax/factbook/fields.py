"""Which fields of the Factbook the corpus has, in which order, and the name of each in a sentence.

Left out: percentages and rates of the population, health, energy and trade by year, emissions, electoral procedures,
addresses and telephone numbers, memberships, parties and treaties, descriptions without facts, and fields under two
categories.
"""

_G, _P, _GOV = "Geography", "People and Society", "Government"
_EX = "Government/Executive branch"

FIELDS: dict[str, str] = {
    "Introduction/Background": "",
    f"{_G}/Location": "Location",
    f"{_G}/Area/total": "Total area",
    f"{_G}/Land boundaries/total": "Length of land boundaries",
    f"{_G}/Land boundaries/border countries": "Border countries",
    f"{_G}/Coastline": "Coastline",
    f"{_G}/Climate": "Climate",
    f"{_G}/Terrain": "Terrain",
    f"{_G}/Elevation/highest point": "Highest point",
    f"{_G}/Elevation/lowest point": "Lowest point",
    f"{_G}/Natural resources": "Natural resources",
    f"{_G}/Major lakes (area sq km)/fresh water lake(s)": "Freshwater lakes",
    f"{_G}/Major lakes (area sq km)/salt water lake(s)": "Saltwater lakes",
    f"{_G}/Major rivers (by length in km)": "Major rivers",
    f"{_G}/Geography - note": "Geography note",
    f"{_G}/Geography - note - note": "Geography note",
    f"{_P}/Population/total": "Population",
    f"{_P}/Population - note": "Population note",
    f"{_P}/Nationality/noun": "Name of a citizen",
    f"{_P}/Nationality/adjective": "Adjective of nationality",
    f"{_P}/Ethnic groups": "Ethnic groups",
    f"{_P}/Ethnic groups - note": "Ethnic groups note",
    f"{_P}/Languages": "Languages",
    f"{_P}/Languages/Languages": "Languages",
    f"{_P}/Languages - note": "Languages note",
    f"{_P}/Religions": "Religions",
    f"{_P}/Religions - note": "Religions note",
    f"{_P}/Major urban areas - population": "Largest cities by population",
    f"{_GOV}/Country name/conventional long form": "Official name",
    f"{_GOV}/Country name/local long form": "Official name in local languages",
    f"{_GOV}/Country name/local short form": "Short name in local languages",
    f"{_GOV}/Country name/former": "Former name",
    f"{_GOV}/Country name/abbreviation": "Abbreviation of the name",
    f"{_GOV}/Country name/etymology": "Origin of the country's name",
    f"{_GOV}/Country name - note": "Country name note",
    f"{_GOV}/Government type": "Government type",
    f"{_GOV}/Dependency status": "Dependency status",
    f"{_GOV}/Dependency status - note": "Dependency status note",
    f"{_GOV}/Capital/name": "Capital",
    f"{_GOV}/Capital/etymology": "Origin of the capital's name",
    f"{_GOV}/Capital - note": "Capital note",
    f"{_GOV}/Dependent areas": "Dependent areas",
    f"{_GOV}/Independence": "Independence",
    f"{_GOV}/National holiday": "National holiday",
    f"{_GOV}/National holiday - note": "National holiday note",
    f"{_GOV}/Constitution/history": "Constitution",
    f"{_GOV}/Suffrage": "Suffrage",
    f"{_EX}/chief of state": "Chief of state",
    f"{_EX}/head of government": "Head of government",
    f"{_EX}/most recent election date": "Most recent election of the executive",
    f"{_EX}/election results": "Election results",
    f"{_EX}/expected date of next election": "Next election of the executive",
    f"{_GOV}/Legislative branch/legislature name": "Legislature",
    f"{_GOV}/Legislative branch/number of seats": "Seats in the legislature",
    f"{_GOV}/Legislative branch/most recent election date": "Most recent election of the legislature",
    f"{_GOV}/Legislative branch - lower chamber/chamber name": "Lower chamber",
    f"{_GOV}/Legislative branch - lower chamber/number of seats": "Seats in the lower chamber",
    f"{_GOV}/Legislative branch - upper chamber/chamber name": "Upper chamber",
    f"{_GOV}/Legislative branch - upper chamber/number of seats": "Seats in the upper chamber",
    f"{_GOV}/Diplomatic representation in the US/chief of mission": "Chief of mission in the US",
    f"{_GOV}/Diplomatic representation from the US/chief of mission": "Chief of mission from the US",
    f"{_GOV}/Flag": "Flag",
    f"{_GOV}/Flag - note": "Flag note",
    f"{_GOV}/National symbol(s)": "National symbols",
    f"{_GOV}/National color(s)": "National colors",
    f"{_GOV}/National anthem(s)/title": "National anthem",
    f"{_GOV}/National anthem(s)/lyrics/music": "National anthem lyrics and music",
    f"{_GOV}/National anthem(s)/history": "National anthem history",
    f"{_GOV}/National anthem(s) - note": "National anthem note",
    f"{_GOV}/National heritage/selected World Heritage Site locales": "World Heritage Sites",
    "Economy/Exchange rates/Currency": "Currency",
    "Economy/Industries": "Industries",
    "Economy/Exports - partners": "Main export partners",
    "Economy/Imports - partners": "Main import partners",
    "Communications/Internet country code": "Internet country code",
    "Transportation/Civil aircraft registration country code prefix": "Aircraft registration prefix",
    "Transportation/Airports": "Number of airports",
    "Transportation/Railways/total": "Length of railways",
    "Transportation/Ports/key ports": "Key ports",
    "Space/Space agency/agencies": "Space agency",
    "Space/Space launch site(s)": "Space launch sites",
}
"""path of a field: label"""

PROSE = frozenset({"Introduction/Background"})
"""Fields that are sentences already."""

SHARES = frozenset(
    {
        f"{_P}/Ethnic groups",
        f"{_P}/Languages",
        f"{_P}/Languages/Languages",
        f"{_P}/Religions",
        "Economy/Exports - partners",
        "Economy/Imports - partners",
    }
)
"""Fields whose items carry percentages, which are dropped."""

CURRENCY, RESULTS = "Economy/Exchange rates/Currency", f"{_EX}/election results"
HEAD_OF_STATE, HEAD_OF_GOVERNMENT = f"{_EX}/chief of state", f"{_EX}/head of government"
RIVERS = f"{_G}/Major rivers (by length in km)"

CATEGORIES = dict.fromkeys(("Economy", "Communications", "Transportation", "Space"), "Economy and Infrastructure")
"""Small categories are one article."""

LISTS = SHARES | {
    f"{_P}/Major urban areas - population",
    f"{_GOV}/National heritage/selected World Heritage Site locales",
    f"{_GOV}/Diplomatic representation in the US/chief of mission",
    "Transportation/Ports/key ports",
}
"""Fields that may be cut at commas."""
