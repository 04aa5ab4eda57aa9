"""The stage `tagger`: it learns, and what it leaves is what the tagger `ner` reads."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from realm_jax import published
from realm_jax.config import Model
from realm_jax.corpus.articles import Article
from realm_jax.corpus.passages import with_sentences
from realm_jax.errors import UserError
from realm_jax.jobs import cli
from realm_jax.tagging.conll import Labelled
from realm_jax.tagging.labelled import UNCOUNTED, LabelledSet, label_names
from realm_jax.tagging.ner import Ner
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.workdir import read_json
from tests import world

EXPERIMENT = str(Path(__file__).parents[2] / "experiments" / "tagger.py")
PEOPLE, PLACES = ("anna", "otto", "mira", "annas"), ("oslo", "rome", "new york", "s.f.")
VOCAB = [*world.SPECIAL, ".", "##s", "met", "in", "and", "the", "king", "of", "f", "s"]
VOCAB += ["anna", "otto", "mira", "oslo", "rome", "new", "york"]
NAMES = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def sentence(first, second, place):
    words, labels = [], []
    for text, kind in ((first, "PER"), ("met", ""), ("king", "PER"), (second, "PER"), ("in", ""), (place, "LOC")):
        for word in text.split():
            begins = not (labels and labels[-1][2:] == kind)
            words.append(word)
            labels.append(f"{'B' if begins else 'I'}-{kind}" if kind else "O")
    return Labelled((*words, "."), (*labels, "O"))


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(VOCAB)


def test_targets_of_wordpieces(tokenizer):
    labelled = LabelledSet([sentence("annas", "otto", "s.f.")], tokenizer)
    batch = next(iter(labelled.batches(NAMES, 16, 1, seed=0)))
    pieces = " ".join(tokenizer.piece(int(i)) for i in batch.tokens[0])
    assert pieces == "[CLS] anna ##s met king otto in s . f . . [SEP] [PAD] [PAD] [PAD]"
    shown = " ".join("-" if target == UNCOUNTED else NAMES[target] for target in batch.targets[0])
    assert shown == "- B-PER - O B-PER I-PER O B-LOC I-LOC I-LOC I-LOC O - - - -"


def test_f1_counts_whole_entities(tokenizer):
    labelled = LabelledSet([sentence("annas", "otto", "s.f."), sentence("mira", "anna", "oslo")], tokenizer)
    right = [np.array([3, 0, 0, 3, 4, 0, 1, 2, 2, 2, 0]), np.array([3, 0, 3, 4, 0, 1, 0])]
    assert labelled.f1(right, NAMES) == 1.0
    # Two of six wrong: one of another type, one too short. A third is cut off.
    wrong = [np.array([1, 4, 0, 3, 0, 0, 1, 0, 0, 0, 0]), np.array([3, 0, 3, 4, 0])]
    assert labelled.f1(wrong, NAMES) == pytest.approx(2 * 3 / (5 + 6))
    assert labelled.f1([np.zeros(len(e), int) for e in labelled.encodings], NAMES) == 0.0


def test_names_of_labels():
    assert label_names([sentence("anna", "otto", "oslo")], "tagger.train") == NAMES
    with pytest.raises(UserError, match="tagger.train: every label is O"):
        label_names([Labelled(("in",), ("O",))], "tagger.train")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """CoNLL's files: no sentence of dev is one of train."""
    everything = [sentence(*names) for names in itertools.product(PEOPLE, PEOPLE, PLACES)]
    dev = everything[::3]  # of all names
    for name, part in (("train", [s for s in everything if s not in dev]), ("dev", dev)):
        lines = [[f"{word} X {label}" for word, label in zip(s.words, s.labels)] for s in part]
        (tmp_path / name).write_text("\n\n".join("\n".join(lines_of) for lines_of in lines))
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in VOCAB))
    monkeypatch.chdir(tmp_path)
    return tmp_path


TINY = f"""--model.weights random --model.vocab vocab.txt --model.bert.vocab_size {len(VOCAB)}
 --model.bert.hidden_size 16 --model.bert.num_layers 1 --model.bert.num_heads 2 --model.bert.intermediate_size 24
 --model.bert.max_positions 24
 --model.bert.dropout 0 --tagger.batch_size 8 --tagger.learning_rate 0.01 --tagger.warmup_steps 2 --tagger.steps 60
 --tagger.checkpoint_every 30 --tagger.train train --tagger.dev dev --workdir w""".split()


@pytest.mark.usefixtures("one_device")
def test_what_the_job_learns_ner_finds(home, capsys):
    assert cli.main(["tagger", EXPERIMENT, *TINY]) == 0, capsys.readouterr().err
    weights = home / "w" / "tagger" / "weights"
    assert f"weights are in {Path('w/tagger/weights')}" in capsys.readouterr().out
    lines = [json.loads(line) for line in (home / "w" / "tagger" / "metrics.jsonl").read_text().splitlines()]
    scores = [line["probe/entity_f1"] for line in lines if "probe/entity_f1" in line]
    assert len(scores) == 3 and scores[0] < 0.5 < 0.98 < scores[-1]

    text = "Mira met Annas in New York. The king of Rome, otto."
    article = with_sentences(Article("T", "T", text))
    (spans,) = Ner(weights, Model()).tag([article])
    assert {(text[a:b], kind) for a, b, kind in spans} >= {("Mira", "PER"), ("New York", "LOC"), ("Rome", "LOC")}

    # The folder is what Hugging Face's library writes for BertForTokenClassification.
    values = read_json(weights / "config.json")
    assert values["architectures"] == ["BertForTokenClassification"]
    assert values["id2label"] == {str(i): name for i, name in enumerate(NAMES)}
    tensors = safetensors.numpy.load_file(weights / "model.safetensors")
    assert {name for name in tensors if not name.startswith("bert.")} == {"classifier.weight", "classifier.bias"}
    assert read_json(weights / "tokenizer_config.json")["do_lower_case"] is True
    assert published.load(weights).labels == NAMES

    (home / "docs").mkdir()
    (home / "docs" / "a.txt").write_text(text)
    tagged = ["--data.source", "folder", "--data.path", "docs", "--data.taggers", "ner"]
    tagged += ["--data.tagger_weights", str(weights), "--data.passage_length", "24", "--data.query_length", "16"]
    tagged += ["--data.joint_length", "24", "--finetune.joint_length", "24"]
    assert cli.main(["prepare", EXPERIMENT, *TINY[:-2], "--workdir", "v", *tagged]) == 0, capsys.readouterr().err
    assert read_json(home / "v" / "data" / "manifest.json")["spans"] == len(spans)


@pytest.mark.usefixtures("one_device")
def test_a_stopped_job_goes_on_to_the_same_weights(home, capsys, monkeypatch):
    from realm_jax.training import loop

    whole, stopped = [[*TINY[:-1], name, "--tagger.steps", "6", "--tagger.checkpoint_every", "3"] for name in "ws"]
    assert cli.main(["tagger", EXPERIMENT, *whole]) == 0, capsys.readouterr().err
    with monkeypatch.context() as context:
        context.setattr(loop, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert cli.main(["tagger", EXPERIMENT, *stopped]) == 130
    assert not (home / "s" / "tagger" / "weights").exists()
    assert cli.main(["tagger", EXPERIMENT, *stopped]) == 0, capsys.readouterr().err
    files = [home / name / "tagger" / "weights" / "model.safetensors" for name in "ws"]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.usefixtures("one_device")
def test_without_training_text_it_is_told(home, capsys):
    assert cli.main(["tagger", EXPERIMENT, "--workdir", "w", "--model.weights", "random"]) == 2
    assert "tagger.train: no sentence in no file at all" in capsys.readouterr().err
