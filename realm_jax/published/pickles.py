"""Reads pickles that hold arrays, without running them.

A pickle is a program: Python's own reader calls any function that the file names. This one knows the opcodes of tuples,
lists, dicts, bytes, text and numbers alone. A function that the file names must be in the caller's table, and the
table's entry is called then, not the function of that name. Anything else is refused.
"""

import array
import struct
from collections.abc import Callable, Iterator, Mapping
from io import BufferedIOBase
from typing import Any, NamedTuple

from realm_jax.errors import UserError

Table = Mapping[tuple[str, str], Any]
"""{(module, name): its stand-in}."""
_MARK = object()
_BYTES = {b"B": 4, b"C": 1, b"\x8e": 8, b"U": 1, b"T": 4}
_TEXT = {b"X": 4, b"\x8c": 1, b"\x8d": 8}
"""Opcodes of bytes and of text, with the size of the length behind them."""
_PUT, _GET = {b"q": 1, b"r": 4}, {b"h": 1, b"j": 4}
_NUMBERS = {b"J": "<i", b"K": "<B", b"M": "<H", b"G": ">d"}
_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_EMPTY = {b")": tuple, b"]": list, b"}": dict}
_MARKED = {b"t": tuple, b"l": list, b"d": lambda items: _pairs(items)}
_SKIPPED = {b"\x80": 1, b"\x95": 8}
"""The version's number and the length of a frame say nothing about the object."""


class Item(NamedTuple):
    """Bytes of a long list, and their place in the file."""

    data: bytes
    offset: int


def load(file: BufferedIOBase, where: str, table: Table, persistent: Callable | None = None) -> Any:
    """The object that a pickle holds, read from the file's position up to the pickle's end.

    Args:
      where: names the file in messages.
      table: the names that the pickle may have; functions in it are called with the pickle's arguments.
      persistent: reference -> its object.

    Raises:
      UserError: the pickle is cut short or damaged, or asks for anything else.
    """
    reader = _Reader(file, where, table, persistent, streams=False)
    for _ in reader.run():
        pass
    return reader.result


def stream(file: BufferedIOBase, where: str, table: Table) -> Iterator[list[Item]]:
    """The bytes in the lists of a pickle, a few at a time: none is kept, not even for the pickle's own references.

    Raises:
      UserError: as `load`, or a list holds something else than bytes.
    """
    return _Reader(file, where, table, None, streams=True).run()


class _Reader:
    def __init__(self, file: BufferedIOBase, where: str, table: Table, persistent, streams: bool):
        self._file, self._where, self._table, self._streams = file, where, table, streams
        self._persistent = persistent
        self._at = file.tell()
        self._size = file.seek(0, 2)
        file.seek(self._at)
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._puts = 0
        # Of streamed bytes only the place is remembered: 12 bytes for each.
        self._offsets, self._lengths = array.array("Q"), array.array("I")
        self.result: Any = None

    def run(self) -> Iterator[list[Item]]:
        """Yields the items that lists are extended by, if it streams; after the last, `result` is the pickle's
        object."""
        # Millions of items come through here, so this loop calls nothing for what an item consists of.
        stack, memo, read, streams = self._stack, self._memo, self._file.read, self._streams
        offsets, lengths = self._offsets, self._lengths
        try:
            while (code := read(1)) != b".":
                self._at += 1
                if (width := _BYTES.get(code) or _TEXT.get(code)) is not None:
                    size = int.from_bytes(read(width), "little")
                    offset = self._at = self._at + width
                    if size > self._size - offset:
                        raise self._damaged(f"{size} bytes wanted, {max(self._size - offset, 0)} left")
                    data = read(size)
                    self._at += size
                    if code in _TEXT:
                        stack.append(data.decode("utf-8", "surrogatepass"))
                    else:
                        stack.append(Item(data, offset) if streams else data)
                elif code == b"\x94" or code in _PUT:
                    index = self._puts if code == b"\x94" else self._index(_PUT[code])
                    self._puts += 1
                    value = stack[-1]
                    if type(value) is not Item:
                        memo[index] = value
                    elif index == len(offsets):
                        offsets.append(value.offset)
                        lengths.append(len(value.data))
                    else:
                        self._remember(index, value)
                elif code == b"a" or code == b"e":
                    items = [stack.pop()] if code == b"a" else self._to_mark()
                    if not streams:
                        stack[-1].extend(items)
                    elif not all(type(item) is Item for item in items):
                        other = next(type(item).__name__ for item in items if type(item) is not Item)
                        raise UserError(
                            f"{self._where}: byte {self._at}: the array holds a {other}; bytes alone may be"
                        )
                    elif items:
                        yield items
                elif code:
                    self._step(code)
                else:
                    raise self._damaged("1 bytes wanted, 0 left")
            self._at += 1
            self.result = stack.pop()
        # What a damaged file asks of stacks and arguments fails in many ways.
        except (
            IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error
        ) as error:  # fmt: skip
            raise self._damaged(f"{type(error).__name__}: {error}") from None

    def _step(self, code: bytes) -> None:
        """An opcode that no long list is made of."""
        stack = self._stack
        if code in _GET:
            stack.append(self._get(self._index(_GET[code])))
        elif code in _NUMBERS:
            kind = _NUMBERS[code]
            stack.append(struct.unpack(kind, self._take(struct.calcsize(kind)))[0])
        elif code == b"\x8a":
            stack.append(int.from_bytes(self._take(self._index(1)), "little", signed=True))
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code == b"(":
            stack.append(_MARK)
        elif code in _EMPTY:
            stack.append(_EMPTY[code]())
        elif code in _MARKED:
            stack.append(_MARKED[code](self._to_mark()))
        elif code in _TUPLES:
            count = _TUPLES[code]
            stack[-count:] = [tuple(stack[-count:])]
        elif code in (b"s", b"u"):
            items = [stack.pop(), stack.pop()][::-1] if code == b"s" else self._to_mark()
            stack[-1].update(_pairs(items))
        elif code == b"c":
            stack.append(self._named(self._line(), self._line()))
        elif code == b"\x93":
            name, module = stack.pop(), stack.pop()
            stack.append(self._named(module, name))
        elif code == b"R":
            arguments, function = stack.pop(), stack.pop()
            stack.append(function(*arguments))
        elif code == b"b":
            stack.pop()  # A state: nothing that the table makes has one.
        elif code == b"Q" and self._persistent:
            stack.append(self._persistent(stack.pop()))
        elif code in _SKIPPED:
            self._take(_SKIPPED[code])
        else:
            raise self._refused(f"opcode {code!r}")

    def _take(self, size: int) -> bytes:
        if size > self._size - self._at:
            raise self._damaged(f"{size} bytes wanted, {self._size - self._at} left")
        self._at += size
        return self._file.read(size)

    def _index(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _line(self) -> str:
        line = self._file.readline(200)
        self._at += len(line)
        return line.decode().rstrip("\n")

    def _to_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise self._damaged("no mark on the stack")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _remember(self, index: int, item: Item) -> None:
        """A place that is not the next one: other values have numbers too."""
        missing = index + 1 - len(self._offsets)
        if missing > self._puts:
            raise self._damaged(f"memo {index} after {self._puts}")
        self._offsets.extend([0] * missing)
        self._lengths.extend([0] * missing)
        self._offsets[index], self._lengths[index] = item.offset, len(item.data)

    def _get(self, index: int) -> Any:
        if index in self._memo:
            return self._memo[index]
        if index >= len(self._offsets):
            raise self._damaged(f"no memo {index}")
        offset = self._offsets[index]
        self._file.seek(offset)
        data = self._file.read(self._lengths[index])
        self._file.seek(self._at)
        return Item(data, offset)

    def _named(self, module: str, name: str) -> Any:
        if (module, name) not in self._table:
            raise self._refused(f"{module}.{name}")
        return self._table[module, name]

    def _refused(self, what: str) -> UserError:
        return UserError(
            f"{self._where}: byte {self._at}: this pickle asks for {what}; it is not opened. Only arrays of numbers "
            "and bytes are made from pickles here: if you trust the file, save its arrays as safetensors"
        )

    def _damaged(self, what: str) -> UserError:
        return UserError(f"{self._where}: byte {self._at}: cut short or no pickle ({what}); fetch the file again")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return dict(zip(items[::2], items[1::2], strict=True))
