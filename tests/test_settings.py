"""What a dataclass of settings is held to, by one that is not the schema's: beartype does not look at it first."""

import dataclasses
from typing import Annotated, Literal

import pytest

from realm_jax.errors import UserError
from realm_jax.settings import Machine, Part, Range, check, from_dict, marked


@dataclasses.dataclass(frozen=True)
class Inner(Part):
    names: tuple[str, ...] = ()
    kind: Literal["a", "b"] = "a"


@dataclasses.dataclass(frozen=True)
class Outer(Part):
    inner: Inner = Inner()
    steps: Annotated[int, Range(0, 9)] = 0

    def __post_init__(self):
        check(self)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": True}, "steps: True is of the wrong type; it must be int"),
        ({"steps": [1]}, "steps: (1,) is of the wrong type; it must be int"),
        ({"steps": -1}, "steps: -1 is out of range; it must be at least 0"),
        ({"inner": {"kind": "c"}}, "inner.kind: 'c' is of the wrong type; it must be one of 'a', 'b'"),
        ({"inner": {"names": "ab"}}, "inner.names: 'ab' is of the wrong type; it must be tuple of str"),
        ({"inner": {"names": ["a", 3]}}, "inner.names[1]: 3 is of the wrong type; it must be str"),
        ({"inner": {"names": [["a"]]}}, "inner.names[0]: ['a'] is of the wrong type; it must be str"),
        ({"inner": 3}, "inner: 3 is of the wrong type; it must be Inner"),
        ({"inner": {"name": []}}, "inner.name: no such option in this version; there are kind, names"),
    ],
)
def test_values_that_do_not_fit(values, message):
    """As a file in JSON has them."""
    with pytest.raises(UserError) as caught:
        from_dict(values, Outer)
    assert str(caught.value) == message


def test_values_that_fit():
    assert from_dict({"inner": {"names": ["a", "b"]}, "steps": 2}, Outer) == Outer(Inner(("a", "b")), 2)


@dataclasses.dataclass(frozen=True)
class Whole(Part):
    marked: Annotated[Outer, Machine()] = Outer()
    other: Outer = Outer()
    names: Annotated[tuple[str, ...], Machine()] = ()

    def check(self, name):
        if len(self.names) > self.other.steps:
            raise UserError(f"{name}names: too many")


def test_a_mark_is_that_of_all_options_of_a_part():
    assert marked(Whole, Machine) == dict.fromkeys(
        ("marked.inner.names", "marked.inner.kind", "marked.steps", "names"), Machine()
    )


def test_marked_values_are_held_to_their_types_and_parts_to_their_checks():
    check(Whole(names=("a",), other=Outer(steps=1)))
    with pytest.raises(UserError, match=r"^names\[0\]: 3 is of the wrong type; it must be str"):
        check(from_dict({"names": [3]}, Whole))
    with pytest.raises(UserError, match="^names: too many"):
        check(Whole(names=("a",)))
