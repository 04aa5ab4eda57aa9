"""What any dataclass of settings can: keep to types and ranges, say what its options mean, be told by flat names, come
out of JSON; and how a file or FOLDER:SPLIT is named."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from realm_jax.errors import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """The closed interval that a number must lie in; `None` leaves a side open."""

    low: int | float | None = None
    high: int | float | None = None

    def __contains__(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low}"
        if self.low is None:
            return f"at most {self.high}"
        return f"between {self.low} and {self.high}"


Count = Annotated[int, Range(0)]
Positive = Annotated[int, Range(1)]
Fraction = Annotated[float, Range(0.0, 1.0)]
NotNegative = Annotated[float, Range(0.0)]
Size = Annotated[int, Range(-1)]


@dataclasses.dataclass(frozen=True)
class Machine:
    """Marks an option, or a part with all its options, that may change within a run.

    It says how the run is computed, not its result; or a message about faulty records, memory or a wait asks for it.
    """


@dataclasses.dataclass(frozen=True)
class InputFile:
    """Marks an option that names a file or folder which a job reads, or several; perhaps as FOLDER:SPLIT."""

    words: tuple[str, ...] = ()
    """Values that name none."""

    def names(self, value: str | Sequence[str]) -> list[str]:
        """Those that the option's value has."""
        values = [value] if isinstance(value, str) else value
        return [name for name in values if name and name not in self.words]


@dataclasses.dataclass(frozen=True)
class ShapesData:
    """Marks an option that decides the content of prepared data, which belong to the values that they were made by."""


@dataclasses.dataclass(frozen=True)
class Added:
    """Marks an option of a later version; what was made before is as its default makes it, and is found again."""


class Part:
    """A dataclass of settings, which may have others as fields."""

    def check(self, name: str) -> None:
        """Raises UserError for values that fit their types and ranges, but not each other.

        Args:
          name: what stands before the names of its fields, such as `index.mesh.`; empty for the whole.
        """


def check(part: Part, path: str = "") -> None:
    """Raises UserError for the first value of a part, at any depth, of another type or outside its `Range`, or that its
    part's own `check` refuses."""
    hints, extras = get_type_hints(type(part)), get_type_hints(type(part), include_extras=True)
    for field in dataclasses.fields(part):
        value, name = getattr(part, field.name), f"{path}{field.name}"
        _check_type(value, hints[field.name], name)
        if dataclasses.is_dataclass(value):
            check(value, f"{name}.")
        if isinstance(value, tuple):
            for number, element in enumerate(value):
                _check_type(element, hints[field.name].__args__[0], f"{name}[{number}]")
        for bound in getattr(extras[field.name], "__metadata__", ()):
            if isinstance(bound, Range) and value not in bound:
                raise UserError(f"{name}: {value} is out of range; it must be {bound}")
    part.check(path)


def _check_type(value: Any, hint: Any, name: str) -> None:
    if not _fits(value, hint):
        raise UserError(f"{name}: {value!r} is of the wrong type; it must be {_words(hint)}")


def _fits(value: Any, hint: Any) -> bool:
    kind = getattr(hint, "__origin__", hint)  # Annotated[int, ...] -> int, Literal["a"] -> Literal
    if kind is Literal:
        return value in hint.__args__
    if kind in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if kind is float else kind)


def _words(hint: Any) -> str:
    kind = getattr(hint, "__origin__", hint)
    if kind is Literal:
        return f"one of {', '.join(map(repr, hint.__args__))}"
    return f"tuple of {_words(hint.__args__[0])}" if kind is tuple else kind.__name__


def marked(kind: type[Part], mark: type[T]) -> dict[str, T]:
    """{dotted name: its mark} of the options that are marked so, themselves or with the part they are in."""
    found = ((name, [own for own in marks if isinstance(own, mark)]) for name, marks in _marks(kind))
    return {name: own[-1] for name, own in found if own}


def _marks(kind: type, path: str = "", above: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...]]]:
    hints = get_type_hints(kind)
    for name, annotated in get_type_hints(kind, include_extras=True).items():
        marks = (*above, *getattr(annotated, "__metadata__", ()))
        if dataclasses.is_dataclass(hints[name]):
            yield from _marks(hints[name], f"{path}{name}.", marks)
        else:
            yield f"{path}{name}", marks


def flatten(part: Any, path: str = "") -> dict[str, Any]:
    """{dotted name: value} of every leaf."""
    leaves: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value, name = getattr(part, field.name), f"{path}{field.name}"
        leaves |= flatten(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: value}
    return leaves


def changes(one: Any, other: Any) -> dict[str, tuple[Any, Any]]:
    """{dotted name: (value in one, value in the other)} of the leaves in which two of a kind differ."""
    values = flatten(one)
    return {name: (values[name], value) for name, value in flatten(other).items() if value != values[name]}


def from_dict(values: dict[str, Any], kind: type, path: str = "") -> Any:
    """A `kind` from what `dataclasses.asdict` made of one.

    Raises:
      UserError: for a name that `kind` lacks, and whatever `kind` itself raises for its values.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := set(values) - set(fields):
        raise UserError(f"{path}{min(unknown)}: no such option in this version; there are {', '.join(sorted(fields))}")
    hints = get_type_hints(kind)

    def typed(name: str, value: Any) -> Any:
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            return from_dict(value, hints[name], f"{path}{name}.")
        return tuple(value) if isinstance(value, list) else value  # JSON knows no tuples

    return kind(**{name: typed(name, value) for name, value in values.items()})


def file_and_split(name: str) -> tuple[Path, str]:
    """What is named by an option that takes a file, or FOLDER:SPLIT: (file, "") or (folder, split).

    A file that is there as it is named is that file: it may have a colon in its name.
    """
    if not Path(name).exists():
        for at in (at for at, letter in enumerate(name) if letter == ":"):
            if Path(name[:at]).is_dir():
                return Path(name[:at]), name[at + 1 :]
    return Path(name), ""
