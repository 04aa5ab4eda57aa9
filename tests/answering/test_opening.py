"""What `load` takes: a run, and published weights; and the messages about anything else."""

import dataclasses
import shutil

import pytest

from realm_jax import published
from realm_jax.answering.opening import load
from realm_jax.errors import UserError
from tests import world
from tests.published import small

BERT = dataclasses.replace(small.BERT, vocab_size=len(world.VOCAB), max_positions=64)
TEXTS = [f"The river of Arland is {i} km of the city of Oslo." for i in range(7)]
QUESTION = "What is the river of Arland?"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An open-QA folder, and one with an embedder alone."""
    root = tmp_path_factory.mktemp("published")
    vocab = root / "vocab.txt"
    world.write_vocab(vocab)
    for kind in ("open_qa", "embedder"):
        fields = {"passages": [text.encode() for text in TEXTS]} if kind == "open_qa" else {}
        published.save(root / kind, small.make(kind, bert=BERT, vocab=vocab, **fields))
    return root


@pytest.mark.usefixtures("one_device")
def test_published_weights_are_imported_into_the_cache_once(folders, tmp_path, monkeypatch, capfd):
    """Anew where their files are others; a folder that was not imported whole is, the next time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = load(folders / "open_qa")
    answer = model.answer(QUESTION)
    assert [passage.text in TEXTS for passage in answer.passages] == [True] * 5 and answer.text
    assert "import_weights: 7 vectors in" in capfd.readouterr().err and tmp_path in model.workdir.root.parents
    again = load(folders / "open_qa")
    assert again.workdir == model.workdir and again.answer(QUESTION) == answer and not capfd.readouterr().err
    model.workdir.stage("imported").done.unlink()
    assert load(folders / "open_qa").answer(QUESTION) == answer
    shutil.copytree(folders / "open_qa", tmp_path / "other")
    assert load(tmp_path / "other").workdir != model.workdir
    with pytest.raises(UserError, match="^only embedder here; a run needs passages too"):
        load(folders / "embedder")


def test_what_is_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such folder; name the workdir of a run"):
        load(tmp_path / "nowhere")
    (tmp_path / "runs").mkdir()
    with pytest.raises(UserError, match="runs/factbok: no such folder"):  # not asked of the Hub
        load("runs/factbok")
    with pytest.raises(UserError, match="neither the workdir of a run, which has a config.json, nor published weights"):
        load(tmp_path)
