"""Labelled text: CoNLL-2003's columns and TFDS's data set; faulty lines are named."""

import pytest
import tensorflow_datasets as tfds

from realm_jax.corpus import tfds_files
from realm_jax.errors import UserError
from realm_jax.tagging.conll import Labelled, read_labelled

COLUMNS = """-DOCSTART- -X- -X- O

EU NNP I-NP I-ORG
rejects VBZ I-VP O
German JJ I-NP I-MISC
Anna NNP I-NP I-PER
Otto NNP I-NP B-PER

Zürich\tI-LOC
"""
SENTENCES = [
    Labelled(("EU", "rejects", "German", "Anna", "Otto"), ("B-ORG", "O", "B-MISC", "B-PER", "B-PER")),
    Labelled(("Zürich",), ("B-LOC",)),
]
NAMES = ["O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC"]


class Conll2003(tfds_files.LocalBuilder, skip_registration=True):
    """The features of TFDS's own builder that are read here."""

    name = "conll2003"

    def features(self):
        return {
            "tokens": tfds.features.Sequence(tfds.features.Text()),
            "ner": tfds.features.Sequence(tfds.features.ClassLabel(names=NAMES)),
        }


def test_columns(tmp_path):
    for name, text in (("unix", COLUMNS), ("windows", COLUMNS.replace("\n", "\r\n")), ("no_end", COLUMNS.rstrip())):
        (tmp_path / name).write_bytes(text.encode())
        assert read_labelled([str(tmp_path / name)], "tagger.train") == SENTENCES
    both = read_labelled([str(tmp_path / "unix"), str(tmp_path / "no_end")], "tagger.train")
    assert both == SENTENCES + SENTENCES


def test_what_tfds_has_prepared(tmp_path):
    records = [{"tokens": s.words, "ner": s.labels} for s in SENTENCES]
    tfds_files.write(Conll2003, tmp_path, {"train": lambda: records})
    folder = tmp_path / "conll2003" / "1.0.0"
    assert read_labelled([f"{folder}:train"], "tagger.train") == SENTENCES
    with pytest.raises(UserError, match="no such split; there are train"):
        read_labelled([f"{folder}:dev"], "tagger.dev")


def test_another_set_of_tfds_is_refused(tmp_path):
    example = {"title": "A", "text": "b", "id": "1", "where": "x", "article": 0, "start": 0, "limit": 1}
    tfds_files.write(tfds_files.Passages, tmp_path, {"train": lambda: [example]})
    with pytest.raises(UserError, match="its records have no 'ner', but .*labelled text has words"):
        read_labelled([f"{tmp_path / 'passages' / '1.0.0'}:train"], "tagger.train")


def test_faulty_lines_are_named(tmp_path):
    path = tmp_path / "bad"
    path.write_bytes(b"EU NNP I-ORG\nrejects\nGerman XX\nZ\xfcrich O\n" + b"word S-PER\n" * 20)
    with pytest.raises(UserError) as error:
        read_labelled([str(path)], "tagger.train")
    said = str(error.value).splitlines()
    assert (
        said[0] == "23 faulty lines of labelled text:" and said[-1] == "Mend them, or name other files in tagger.train."
    )
    assert said[1] == f"  {path}:2: 'rejects' has no label; a line is a word, other columns, and a label"
    assert f"{path}:3: the last column is 'XX'; a label is O, B-TYPE or I-TYPE" in said[2]
    assert f"{path}:4: invalid UTF-8 (byte 1 of the line)" in said[3]
    assert f"{path}:5: " in said[4] and len(said) == 1 + 10 + 1 + 1


def test_nothing_to_read(tmp_path):
    (tmp_path / "empty").write_text("\n\n-DOCSTART- O\n\n")
    for names, said in (((str(tmp_path / "empty"),), "no sentence in .*empty"), ((), "no sentence in no file at all")):
        with pytest.raises(UserError, match=f"tagger.dev: {said}"):
            read_labelled(names, "tagger.dev")
    with pytest.raises(UserError, match=r"tagger.train: nowhere cannot be read .*CoNLL-2003's columns"):
        read_labelled(["nowhere"], "tagger.train")
