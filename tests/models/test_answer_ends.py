"""BERTs that were trained to find answers (BertForQuestionAnswering), as readers."""

import shutil

import bert_files
import jax
import numpy as np
import pytest

from realm_jax import models, published
from realm_jax.config import Bert, Config, Model
from realm_jax.errors import UserError
from realm_jax.published import tensors
from realm_jax.stages import of_run
from realm_jax.text import features
from realm_jax.training.results import fresh_embedder
from tests.published import small
from tests.trees import same

WIDTH = 4


def question_answering(seed=0):
    """As Hugging Face's library saves it: prefixed, without a pooler."""
    draw = np.random.default_rng(seed + 1)
    trunk = {f"bert.{name}": t for name, t in bert_files.tensors(seed).items() if not name.startswith("pooler")}
    shapes = {"qa_outputs.weight": (2, bert_files.H), "qa_outputs.bias": (2,)}
    return trunk | {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_span_scores_are_start_and_end_logits_added(tmp_path):
    """By NumPy alone: logits = hidden @ weight.T + bias, start the first, end the second, as transformers has them."""
    given = question_answering()
    folder = bert_files.write(tmp_path / "squad", given, {"architectures": ["BertForQuestionAnswering"]})
    model = Model(str(folder), max_span_width=WIDTH)
    params = models.span_reader_params(jax.random.key(0), model, folder)
    tokens = np.array([[5, 9, 6, 11, 12, 13, 14, 6, 0, 0]], np.int32)
    segments = np.array([[0, 0, 0, 1, 1, 1, 1, 1, 0, 0]], np.int32)
    reader = models.SpanReader(models.bert_config(model, folder), model, models.has_answer_ends(folder))
    found = np.asarray(jax.jit(reader.apply)({"params": params}, tokens, segments))[0]
    plain = {name.removeprefix("bert."): tensor for name, tensor in given.items()}
    hidden = bert_files.forward(plain, tokens[0], segments[0])
    start, end = (hidden @ given["qa_outputs.weight"].T + given["qa_outputs.bias"]).T
    body = (3, 4, 5, 6)  # without the question, [SEP] and padding
    for (first, last), score in zip(features.span_table(10, WIDTH), found, strict=True):
        if first in body and last in body:
            assert score == pytest.approx(float(start[first] + end[last]), rel=2e-4, abs=2e-4)
        else:
            assert score < -9_000
    spans = [(i, j) for i in body for j in body if i <= j < i + WIDTH]
    best = max(spans, key=lambda span: start[span[0]] + end[span[1]])
    assert tuple(features.span_table(10, WIDTH)[found.argmax()]) == best


def test_the_format_is_written_back(tmp_path):
    folder = bert_files.write(tmp_path / "squad", question_answering())
    loaded = published.load(folder)
    published.save(tmp_path / "again", loaded)
    assert same(published.load(tmp_path / "again").params, loaded.params) and "answer_ends" in loaded.params
    assert set(tensors.read(tmp_path / "again")[0]) == set(question_answering())
    assert not models.has_answer_ends(bert_files.write(tmp_path / "plain", bert_files.tensors()))
    assert not models.has_answer_ends(None)


@pytest.fixture
def run(world, tmp_path):
    """A random embedder, and a reader of other sizes that was trained to find answers."""
    vocab = tmp_path / "vocab.txt"
    shutil.copy(world.config.model.vocab, vocab)
    bert = Bert(len(vocab.read_text().splitlines()), 16, 2, 4, 24, 64)
    published.save(tmp_path / "squad", small.make("bert", bert=bert, has=("answer_ends",), vocab=vocab))
    model = {"reader_weights": str(tmp_path / "squad"), "vocab": str(vocab)}
    return world.experiment(tmp_path / "run", model=model, finetune={"steps": 0})


@pytest.mark.usefixtures("one_device")
def test_it_answers_untrained_beside_any_embedder(run):
    theirs = published.load(run.config.model.reader_weights).params
    embedder = fresh_embedder(run, jax.random.key(0))
    reader = run.models.span_reader(jax.random.key(1), {"trunk": theirs["trunk"]})
    assert same(reader, theirs) and "answer_ends" in reader and set(of_run(run.config)) >= {"pretrain", "finetune"}
    joint = np.array([[101, 102, 9, 12, 102, 0]], np.int32)
    logits = run.models.score_spans(reader, joint, np.array([[0, 0, 1, 1, 1, 0]], np.int32))
    assert np.isfinite(logits).all() and embedder["trunk"]["embeddings"]["word"].shape[1] == 12


def test_vocabularies_that_differ_are_refused(run, tmp_path):
    lines = (tmp_path / "squad" / "vocab.txt").read_text().splitlines()
    (tmp_path / "squad" / "vocab.txt").write_text("\n".join([*lines[:-1], "other"]) + "\n")
    with pytest.raises(UserError, match="model.reader_weights: .*squad/vocab.txt has other wordpieces than"):
        models.resolve_vocab(run.config.model)


def test_layers_are_of_one_weights_folder():
    with pytest.raises(UserError, match="model.layers: 2 are of model.weights, and model.reader_weights has others"):
        Config(model=Model(layers=2, reader_weights="squad"))
