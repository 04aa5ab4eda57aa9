"""Sentences whose words are labelled with named entities: CoNLL-2003's files, or TFDS's data set of them."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from realm_jax.corpus.tfds_files import open_prepared
from realm_jax.errors import Faults, UserError
from realm_jax.settings import file_and_split
from realm_jax.tagging.iob import iob2

DOCUMENT = b"-DOCSTART-"
"""The word of a line that begins a document."""
_LABEL = re.compile(r"O|[BI]-\S+")
_WORDS, _LABELS = "tokens", "ner"


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A sentence."""

    words: tuple[str, ...]
    labels: tuple[str, ...]
    """One a word, in IOB2: "B-PER" at the beginning of an entity, "I-PER" within it, "O" outside."""


def read_labelled(names: Sequence[str], option: str) -> list[Labelled]:
    """All sentences of files in columns, or of FOLDER:SPLIT of a data set that TFDS has prepared.

    Args:
      option: names the files in messages.

    Raises:
      UserError: a file cannot be read, or has faulty lines, of which the first ten are listed; there is no sentence.
    """
    faults, sentences = Faults("lines of labelled text", f"Mend them, or name other files in {option}."), []
    for name in names:
        path, split = file_and_split(name)
        sentences += _prepared(path, split) if path.is_dir() else _columns(path, option, faults)
    faults.settle()
    if not sentences:
        raise UserError(f"{option}: no sentence in {', '.join(names) or 'no file at all'}; name a file that has some")
    return sentences


def _columns(path: Path, option: str, faults: Faults) -> Iterator[Labelled]:
    """A word a line, its label last, columns apart by white space; a blank line between sentences."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{option}: {path} cannot be read ({error.strerror}); name a file in CoNLL-2003's columns, or FOLDER:SPLIT "
            "of a data set that TFDS has prepared"
        ) from None
    words: list[str] = []
    labels: list[str] = []
    for number, line in enumerate([*data.split(b"\n"), b""], 1):
        if not line.strip() or line.startswith(DOCUMENT):
            if words:
                yield Labelled(tuple(words), iob2(labels))
            words, labels = [], []
            continue
        try:
            columns = line.decode("utf-8-sig").split()
        except UnicodeDecodeError as error:
            faults.add(f"{path}:{number}: invalid UTF-8 (byte {error.start} of the line); save the file as UTF-8")
            continue
        if len(columns) < 2:
            faults.add(f"{path}:{number}: {columns[0]!r} has no label; a line is a word, other columns, and a label")
        elif not _LABEL.fullmatch(columns[-1]):
            faults.add(f"{path}:{number}: the last column is {columns[-1]!r}; a label is O, B-TYPE or I-TYPE")
        else:
            words.append(columns[0])
            labels.append(columns[-1])


def _prepared(folder: Path, split: str) -> Iterator[Labelled]:
    builder, records = open_prepared(folder, split, "conll2003/1.0.0:train")
    features = builder.info.features
    if missing := {_WORDS, _LABELS} - set(features):
        raise UserError(
            f"{folder}: its records have no {min(missing)!r}, but {', '.join(features)}; labelled text has words "
            f"({_WORDS!r}) and labels ({_LABELS!r}), as TFDS's conll2003 does"
        )
    names = features[_LABELS].feature.names
    for record in records:
        words = tuple(word.decode() for word in record[_WORDS])
        yield Labelled(words, iob2([names[label] for label in record[_LABELS]]))
