"""The requests that the server takes: parameters, checked one way whether they come in an address or as JSON."""

import dataclasses
import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from realm_jax.answering.learned import POINTS
from realm_jax.errors import UserError, from_json, near_miss

LONGEST = 2000
"""Characters of a text."""
SPACES = "\t\n\r"
"""Control characters that a text may have."""


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One that requests may have."""

    about: str
    default: str | int | bool | None = ""
    """None where it has to be given."""
    kind: type = str
    low: int = 0
    high: int | None = None
    choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One of the API."""

    about: str
    parameters: dict[str, Parameter]


TEXT = Parameter("A question, or a sentence in which [MASK] stands for what to find.", None)
TRUTH = Parameter("The right answer; a single [MASK] stands for all its wordpieces.", None)
STAGE = Parameter(
    f"The stage of training to ask: {', '.join(POINTS)}; by default the one that suits the text.", choices=("", *POINTS)
)
K = Parameter("Passages to find.", 5, int, 1, 100)
UNKNOWN = Parameter("Whether to give no text where it is not known, as `realm ask --unknown`.", False, bool)
ENDPOINTS = {
    "answer": Endpoint("Answers a question with a span of a passage.", {"text": TEXT, "unknown": UNKNOWN}),
    "retrieve": Endpoint("Finds passages, and reads none.", {"text": TEXT, "k": K, "stage": STAGE}),
    "fill": Endpoint("Finds the words for each [MASK].", {"text": TEXT, "stage": STAGE, "unknown": UNKNOWN}),
    "explain": Endpoint(
        "What each passage would gain in training, were `truth` right.", {"text": TEXT, "truth": TRUTH, "stage": STAGE}
    ),
    "passage": Endpoint(
        "A passage of the corpus, its article, and its neighbours in the index.",
        {
            "id": Parameter("Its row in the passage store.", None, int),
            "neighbours": Parameter("Neighbours to find.", 5, int, 0, 50),
        },
    ),
}


def of_address(query: bytes) -> dict[str, Any]:
    """The parameters after the `?` of an address.

    Raises:
      UserError: one is there twice, or is no UTF-8.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except UnicodeDecodeError:
        raise UserError("the address is no percent-encoded UTF-8") from None
    except ValueError:
        raise UserError("the address has more than 20 parameters") from None
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in given:
            raise UserError(f"{shown(name)}: is there twice; give it once")
        given[name] = value
    return given


def of_body(body: bytes) -> dict[str, Any]:
    """Raises UserError where a body is no JSON object."""
    given = from_json(body)
    if not isinstance(given, dict):
        raise UserError('the body is no JSON object; it is {"text": "..."}')
    return given


def checked(parameters: Mapping[str, Parameter], given: Mapping[str, Any], written: bool = False) -> dict[str, Any]:
    """A value for each parameter.

    Args:
      written: whether all values are words, as in an address.

    Raises:
      UserError: one is unknown, missing, of another type, or out of range.
    """
    for name in given:
        if name not in parameters:
            raise UserError(f"{shown(name)}: no such parameter; {near_miss(name, list(parameters), 'there are')}")
    return {name: _value(name, parameter, given, written) for name, parameter in parameters.items()}


def _value(name: str, parameter: Parameter, given: Mapping[str, Any], written: bool) -> Any:
    value = given.get(name, parameter.default)
    if value is None:
        raise UserError(f"{name}: is {'null' if name in given else 'missing'}; {parameter.about}")
    if parameter.kind is bool:
        return _choice(name, value, written)
    if parameter.kind is int:
        return _number(name, parameter, value, written)
    if not isinstance(value, str):
        raise UserError(f"{name}: {shown(value)} is no string")
    if parameter.choices and value not in parameter.choices:
        raise UserError(f"{name}: {shown(value)} is none; there are {', '.join(filter(None, parameter.choices))}")
    if len(value) > LONGEST:
        raise UserError(f"{name}: {len(value):,} characters, but at most {LONGEST:,} are read")
    for place, character in enumerate(value, 1):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in SPACES:
            raise UserError(f"{name}: character {place} is U+{ord(character):04X}, which no text has; leave it out")
    return value


def _choice(name: str, value: Any, written: bool) -> bool:
    found = {"true": True, "false": False}.get(value) if written and isinstance(value, str) else value
    if not isinstance(found, bool):
        raise UserError(f"{name}: {shown(value)} is neither true nor false")
    return found


def _number(name: str, parameter: Parameter, value: Any, written: bool) -> int:
    limits = f"{parameter.low} to {parameter.high}" if parameter.high is not None else f"{parameter.low} or more"
    if written and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"{name}: {shown(value)} is no whole number; it must be {limits}")
    if not parameter.low <= value <= (parameter.high if parameter.high is not None else 10**9):
        raise UserError(f"{name}: {shown(value)} is out of range; it must be {limits}")
    return value


def shown(value: Any) -> str:
    """A value of a user's within a message, in ASCII and short."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
