"""The questions about the Factbook's fields."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from realm_jax.factbook import answers_in_fields as read
from realm_jax.factbook import people as people


@dataclasses.dataclass(frozen=True)
class Template:
    """The questions about a field; {} in a wording is the country."""

    kind: str
    field: str
    """Its path; several, of which a country has one, have | between them."""
    answers: Callable[[str], list[str]]
    """From the field's text; [] where there is no short answer."""
    wordings: tuple[str, ...]
    type: Literal["name", "date", "number"] = "name"
    """Of the answer."""
    unless: tuple[str, str] | None = None
    """A field, and a pattern that it must not match."""
    names_all: bool = False
    """Whether its other answers are accepted even where many countries speak of them, as they do of the Danube."""


_ANTHEM = ("Government/National anthem(s)/history", r"^(?:royal|official) anthem")  # not the country's own
TEMPLATES = (
    Template(
        "capital",
        "Government/Capital/name",
        read.capital,
        ("What is the capital of {}?", "Which city is the capital of {}?", "Name the capital of {}."),
    ),
    Template(
        "independence",
        "Government/Independence",
        read.first_date,
        (
            "When did {} become independent?",
            "When did {} gain independence?",
            "On what date did {} achieve independence?",
        ),
        type="date",
    ),
    Template(
        "holiday",
        "Government/National holiday",
        read.holiday,
        (
            "On what day is the national holiday of {}?",
            "When does {} celebrate its national holiday?",
            "When is the national day of {}?",
        ),
        type="date",
    ),
    Template(
        "highest_point",
        "Geography/Elevation/highest point",
        read.summit,
        (
            "What is the highest point of {}?",
            "What is the highest point in {}?",
            "What is the name of the highest point in {}?",
        ),
    ),
    Template(
        "height",
        "Geography/Elevation/highest point",
        read.height,
        (
            "How high is the highest point of {}?",
            "What is the elevation of the highest point in {}?",
            "What height does {} reach at its highest point?",
        ),
        type="number",
    ),
    Template(
        "lowest_point",
        "Geography/Elevation/lowest point",
        read.inland,
        ("What is the lowest point of {}?", "What is the lowest point in {}?", "Which place in {} lies lowest?"),
    ),
    Template(
        "area",
        "Geography/Area/total",
        read.quantity,
        ("What is the total area of {}?", "How many square kilometers does {} cover?", "How large is {}?"),
        type="number",
    ),
    Template(
        "river",
        "Geography/Major rivers (by length in km)",
        read.first_of_longest,
        (
            "What is the longest river of {}?",
            "Which is the longest of the major rivers in {}?",
            "Which river is the longest in {}?",
        ),
        names_all=True,
    ),
    Template(
        "lake",
        "Geography/Major lakes (area sq km)/fresh water lake(s)",
        read.first_of_longest,
        (
            "What is the largest freshwater lake in {}?",
            "Which is the largest fresh water lake of {}?",
            "Which freshwater lake is the largest in {}?",
        ),
        names_all=True,
    ),
    Template(
        "population",
        "People and Society/Population/total",
        read.quantity,
        ("What is the population of {}?", "How many people live in {}?", "How many inhabitants does {} have?"),
        type="number",
    ),
    Template(
        "demonym",
        "People and Society/Nationality/noun",
        read.demonym,
        ("What is a person from {} called?", "What do you call someone from {}?", "What is a citizen of {} called?"),
    ),
    Template(
        "ethnic_group",
        "People and Society/Ethnic groups",
        read.people_share,
        (
            "What is the largest ethnic group in {}?",
            "Which ethnic group is the largest in {}?",
            "Which is the most numerous ethnic group of {}?",
        ),
    ),
    Template(
        "language",
        "People and Society/Languages/Languages|People and Society/Languages",
        read.official_language,
        (
            "What is the official language of {}?",
            "Which language is official in {}?",
            "Which is the official tongue of {}?",
        ),
    ),
    Template(
        "city",
        "People and Society/Major urban areas - population",
        read.largest_city,
        (
            "What is the largest city in {}?",
            "Which city in {} has the most inhabitants?",
            "Which is the most populous city of {}?",
        ),
    ),
    Template(
        "official_name",
        "Government/Country name/conventional long form",
        read.name,
        ("What is the official name of {}?", "What is the full name of {}?", "What is {} officially called?"),
    ),
    Template(
        "local_name",
        "Government/Country name/local short form",
        read.name,
        ("What is the local name of {}?", "What do locals call {}?", "How is {} called in its own language?"),
    ),
    Template(
        "former_name",
        "Government/Country name/former",
        read.listed,
        ("What was {} formerly called?", "What is a former name of {}?", "Under what name was {} known before?"),
    ),
    Template(
        "chief_of_state",
        "Government/Executive branch/chief of state",
        people.sole_holder,
        ("Who is the chief of state of {}?", "Who is the head of state of {}?", "Who heads the state in {}?"),
    ),
    Template(
        "representative",
        "Government/Executive branch/chief of state",
        people.representative,
        ("Who represents the chief of state in {}?", "Who represents the head of state in {}?"),
    ),
    Template(
        "head_of_government",
        "Government/Executive branch/head of government",
        people.sole_holder,
        ("Who is the head of government of {}?", "Who heads the government of {}?", "Who leads the government of {}?"),
    ),
    Template(
        "constitution",
        "Government/Constitution/history",
        read.constitution,
        (
            "When was the constitution of {} adopted?",
            "When did {} adopt its current constitution?",
            "On what date was the constitution of {} adopted?",
        ),
        type="date",
    ),
    Template(
        "legislature",
        "Government/Legislative branch/legislature name",
        read.name,
        (
            "What is the legislature of {} called?",
            "What is the name of the legislature of {}?",
            "Which body makes the laws of {}?",
        ),
    ),
    Template(
        "ambassador",
        "Government/Diplomatic representation in the US/chief of mission",
        people.sole_holder,
        (
            "Who is the ambassador of {} to the United States?",
            "Who represents {} as ambassador in Washington?",
            "Who is the envoy of {} in the US?",
        ),
    ),
    Template(
        "us_ambassador",
        "Government/Diplomatic representation from the US/chief of mission",
        people.sole_holder,
        (
            "Who is the US ambassador to {}?",
            "Who is the ambassador of the United States to {}?",
            "Who heads the US embassy in {}?",
        ),
    ),
    Template(
        "anthem",
        "Government/National anthem(s)/title",
        read.quoted_title,
        (
            "What is the national anthem of {}?",
            "What is the title of the national anthem of {}?",
            "Which song is the national anthem of {}?",
        ),
        unless=_ANTHEM,
    ),
    Template(
        "lyricist",
        "Government/National anthem(s)/lyrics/music",
        lambda text: people.authors(text.split("/")[0]),
        (
            "Who wrote the lyrics of the national anthem of {}?",
            "Who wrote the words of the anthem of {}?",
            "Who is the lyricist of the anthem of {}?",
        ),
        unless=_ANTHEM,
    ),
    Template(
        "composer",
        "Government/National anthem(s)/lyrics/music",
        lambda text: people.authors(text.split("/")[-1]),
        (
            "Who composed the national anthem of {}?",
            "Who wrote the music of the national anthem of {}?",
            "Who is the composer of the anthem of {}?",
        ),
        unless=_ANTHEM,
    ),
    Template(
        "symbol",
        "Government/National symbol(s)",
        read.listed,
        (
            "What is the national symbol of {}?",
            "What is a national symbol of {}?",
            "What serves {} as a national symbol?",
        ),
    ),
    Template(
        "currency",
        "Economy/Exchange rates/Currency",
        read.currency,
        ("What is the currency of {}?", "What currency is used in {}?", "With what money do people pay in {}?"),
    ),
    Template(
        "domain",
        "Communications/Internet country code",
        read.domain,
        (
            "What is the Internet country code of {}?",
            "What is the Internet domain of {}?",
            "How do Internet addresses of {} end?",
        ),
    ),
    Template(
        "space_agency",
        "Space/Space agency/agencies",
        read.agency,
        (
            "What is the space agency of {}?",
            "What is the space agency of {} called?",
            "Which agency runs the space program of {}?",
        ),
    ),
)
