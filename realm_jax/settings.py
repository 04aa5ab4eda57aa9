"""The base of every dataclass of settings: types and ranges, marks, help texts, flat names, JSON; and how a file or
FOLDER:SPLIT is named."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from realm_jax.errors import UserError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """The closed interval that a number must lie in; both ends are finite."""

    low: int | float
    high: int | float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def against(self, value: float) -> str:
        """What a value outside must be."""
        return f"at most {self.high}" if value > self.high else f"at least {self.low}"


MANY = 10**9
"""More steps, passages or seconds than anyone has."""
Count = Annotated[int, Range(0, MANY)]
Positive = Annotated[int, Range(1, MANY)]
Rows = Annotated[int, Range(1, 1 << 20)]
"""Computed at once."""
Width = Annotated[int, Range(1, 1 << 18)]
"""Of arrays."""
Fraction = Annotated[float, Range(0.0, 1.0)]
NotNegative = Annotated[float, Range(0.0, 1e9)]
Size = Annotated[int, Range(-1, 1 << 20)]


@dataclasses.dataclass(frozen=True)
class Machine:
    """Marks an option, or a part with all its options, that may change within a run.

    It says how the run is computed, and not its result; or it is one that a message about faulty records, memory or a
    wait tells you to change.
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
    """Marks an option of a later version; results made before are those of its default, and are found again."""


@dataclasses.dataclass(frozen=True)
class First:
    """Marks an option that you try before others: `--help` shows these, `--help-all` every one."""


class Part:
    """A dataclass of settings, which may have others as fields."""

    def check(self, name: str) -> None:
        """Raises UserError for values that fit their types and ranges, but not each other.

        Args:
          name: the prefix of the names of its fields, such as `index.mesh.`; empty for the whole.
        """


def check(part: Any, path: str = "") -> None:
    """Raises UserError for the first value of a part, or of another dataclass, at any depth, of another type or outside
    its `Range`, or that its part's own `check` refuses."""
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
                raise UserError(f"{name}: {value} is out of range; it must be {bound.against(value)}")
            if isinstance(bound, InputFile) and isinstance(value, tuple) and not all(value):
                raise UserError(f"{name}: '' names no file; leave the option out where there is none")
    if isinstance(part, Part):
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


def types(kind: type[Part], path: str = "") -> dict[str, Any]:
    """{dotted name: type} of every option."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        found |= types(hint, f"{path}{name}.") if dataclasses.is_dataclass(hint) else {f"{path}{name}": hint}
    return found


def help_texts(kind: type[Part], path: str = "") -> dict[str, str]:
    """{dotted name: help} of every option: the text below its field, here or in the part that it inherits from."""
    texts: dict[str, str] = {}
    for owner in reversed([base for base in kind.__mro__ if dataclasses.is_dataclass(base)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0].body  # type: ignore[attr-defined]
        for field, below in zip(body, body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    texts[f"{path}{name}"] = " ".join(text.split())
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            texts |= help_texts(hint, f"{path}{name}.")
    return texts


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
    """A `kind` from the output of `dataclasses.asdict`.

    Raises:
      UserError: for a name that `kind` lacks, and any that `kind` itself raises for its values.
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
    """The file, or the folder and split, that an option FILE or FOLDER:SPLIT names: (file, "") or (folder, split).

    A file that is there as it is named is that file: it may have a colon in its name.
    """
    if not Path(name).exists():
        for at in (at for at, letter in enumerate(name) if letter == ":"):
            if Path(name[:at]).is_dir():
                return Path(name[:at]), name[at + 1 :]
    return Path(name), ""
