"""What `ask` prints: answer, passages, beliefs and gains."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from realm_jax.errors import UserError
from realm_jax.evaluation import ask as asking
from realm_jax.evaluation.ask import answer_question, ask, fill_masks
from realm_jax.jobs.ask import Arguments
from realm_jax.training.checkpoints import CheckpointWriter, State
from realm_jax.training.refresh import build_one
from realm_jax.training.results import start_of_pretraining
from realm_jax.workdir import write_json

COUNT = 4


@pytest.fixture(scope="module")
def experiment(world, tmp_path_factory):
    """A workdir with the results of pre-training and of fine-tuning."""
    experiment = world.experiment(tmp_path_factory.mktemp("ask"))
    params = start_of_pretraining(experiment)(jax.random.key(1))
    draw = np.random.default_rng(3)
    params = jax.tree.map(lambda leaf: leaf + 0.2 * draw.normal(size=leaf.shape).astype(np.float32), params)
    save(experiment, "pretrain", params)
    build_one(experiment, 0, params["embedder"])
    params["reader"] = experiment.models.span_reader(jax.random.key(2), params["reader"])
    save(experiment, "finetune", params)
    return experiment


def save(experiment, stage, params):
    folder = experiment.folder.stage(stage)
    writer = CheckpointWriter(folder.checkpoints, 2)
    writer.save(0, State(params, {"mean": np.zeros(1)}), {"data": {}}, None)
    writer.wait()
    writer.close()
    write_json(folder.done, {"step": 0, "last_step": 0, "reason": "test"})


def numbers(name, text):
    return [float(value) for value in re.findall(rf"^{re.escape(name)} ([+-]?\d\.\d+)", text, re.MULTILINE)]


def gains(text):
    return [float(value) for value in re.findall(r"  r\(z\) ([+-]\d\.\d+)", text)]


def bodies(experiment, text):
    """Passages shown, as rows of the store."""
    rows = {}
    for row in range(experiment.store.num_passages):
        rows[f"  {experiment.texts[row].title}\n  {experiment.texts[row].text}"] = row
    blocks = [block.split("\n", 1)[1] for block in text.split("\n\n")[1:]]
    return [experiment.store.null_id if block == "  (the null passage)" else rows[block] for block in blocks]


def test_a_question_is_answered_from_a_passage_shown(experiment):
    text = answer_question(experiment, "What is the capital of Jura?", "", COUNT)
    said = re.match(r"answer: (.*)   \(p (\d\.\d+) among all spans\)", text)
    shown = bodies(experiment, text)
    assert len(shown) == len({*shown}) == COUNT and experiment.store.null_id not in shown
    assert said[1] and any(said[1] in experiment.texts[row].text for row in shown)
    p_z = numbers("p(z|x)", text)
    assert sum(p_z) == pytest.approx(1.0, abs=0.003) and p_z == sorted(p_z, reverse=True)
    assert gains(text) == [] and "truth" not in text
    readings = re.findall(r"reads '(.*)', p (\d\.\d+)", text)
    assert len(readings) == COUNT and (said[1], float(said[2])) in [(r, round(float(p), 2)) for r, p in readings]
    for (reading, _), row in zip(readings, shown, strict=True):
        assert reading in experiment.texts[row].text


def test_a_truth_shows_what_each_passage_gains(experiment):
    question = "What is the capital of Jura?"
    row = bodies(experiment, answer_question(experiment, question, "", COUNT))[1]
    truth = experiment.texts[row].text.split()[-1].rstrip(".")  # it stands in a passage read
    text = answer_question(experiment, question, truth, COUNT)
    assert f"truth: {truth}   (p " in text
    assert len(gains(text)) == COUNT and sum(gains(text)) == pytest.approx(0.0, abs=0.003)
    assert any(gain > 0 for gain in gains(text))


def test_a_truth_that_was_not_read_is_said_to_be(experiment):
    text = answer_question(experiment, "What is the capital of Jura?", "zzz zzz", COUNT)
    assert "the truth stands in none of the passages read: r(z) is not defined" in text and gains(text) == []


def test_masks_are_filled(experiment):
    text = fill_masks(experiment, "The capital of Jura is [MASK] [MASK] [MASK] [MASK].", "", COUNT)
    assert re.match(r"answer: .+   \(log p\(y\|x\) -\d+\.\d+\)\nworth of retrieval for it: [+-]\d+\.\d+ nats", text)
    shown = bodies(experiment, text)
    assert shown[0] == experiment.store.null_id and len({*shown}) == COUNT + 1
    assert sum(numbers("p(z|x)", text)) == pytest.approx(1.0, abs=0.003)
    assert "truth" not in text and gains(text) == []


def test_a_single_mask_stands_for_all_wordpieces_of_the_truth(world, experiment):
    assert len(world.tokenizer.encode("Jena").ids) == 4
    text = fill_masks(experiment, "The capital of Jura is [MASK].", "Jena", COUNT)
    whole = fill_masks(experiment, "The capital of Jura is [MASK][MASK][MASK][MASK].", "Jena", COUNT)
    assert text == whole and "truth: Jena   (log p(y|x) -" in text
    assert len(gains(text)) == COUNT + 1 and sum(gains(text)) == pytest.approx(0.0, abs=0.004)


def test_neighbouring_masks_are_one_span_where_training_takes_them_so(world, experiment, monkeypatch):
    by_token = fill_masks(experiment, "The capital of Jura is [MASK].", "Jena", COUNT)
    pretrain = dataclasses.replace(experiment.config.pretrain, marginalize="span")
    monkeypatch.setattr(experiment, "config", dataclasses.replace(experiment.config, pretrain=pretrain))
    by_span = fill_masks(experiment, "The capital of Jura is [MASK].", "Jena", COUNT)
    assert sum(gains(by_span)) == pytest.approx(0.0, abs=0.004) and gains(by_span) != gains(by_token)
    # One draw of a passage for all four wordpieces moves p(z|x) less than four draws do.
    assert sum(map(abs, gains(by_span))) < sum(map(abs, gains(by_token)))


def test_an_answer_is_as_likely_as_the_same_words_given_as_the_truth(experiment, monkeypatch):
    """Here all words are, so that any will do; of two wordpieces in one span the passages tell p(y|x) together."""
    pretrain = dataclasses.replace(experiment.config.pretrain, marginalize="span")
    monkeypatch.setattr(experiment, "config", dataclasses.replace(experiment.config, pretrain=pretrain))
    log_p_z, log_p_y = np.log(np.full((1, 3), 1 / 3)), np.log([[[0.9, 0.9], [0.1, 0.1], [0.2, 0.2]]])
    monkeypatch.setattr(asking, "_log_probs", lambda *_: (jnp.asarray(log_p_z), jnp.asarray(log_p_y)))
    text = fill_masks(experiment, "The capital of Jura is [MASK] [MASK].", "river lake", 2)
    expected = f"(log p(y|x) {np.log((0.81 + 0.01 + 0.04) / 3):.2f})"
    assert re.match(rf"answer: .+   {re.escape(expected)}\n.+\ntruth: river lake   {re.escape(expected)}\n", text)


@pytest.mark.parametrize(
    "text, truth, message",
    [
        ("The [MASK] of [MASK].", "Jena", "--truth: 'Jena' is 4 wordpieces, but 2"),
        ("river " * 40 + "[MASK]", "", r"\[MASK\] stands past the query's 32 wordpieces; shorten the sentence"),
        ("river " * 29 + "[MASK] [MASK]", "", r"\[MASK\] stands past the query's 32 wordpieces; shorten the sentence"),
        ("river " * 29 + "[MASK]", "Jena", r"\[MASK\] stands past the query's 32 wordpieces; shorten the sentence"),
        ("The [MASK].", " ", "--truth: ' ' has no wordpieces; give the words of the answer, or leave it out"),
    ],
)
def test_masks_that_do_not_fit(experiment, text, truth, message):
    with pytest.raises(UserError, match=message):
        fill_masks(experiment, text, truth, COUNT)


def test_a_truth_without_words(experiment):
    with pytest.raises(UserError, match=r"--truth: '\\u200b' has no wordpieces"):
        answer_question(experiment, "What is the capital of Jura?", "\u200b", COUNT)


def test_more_passages_than_there_are(experiment):
    with pytest.raises(UserError, match=f"search for 999 passages: the index holds {experiment.store.num_passages}"):
        answer_question(experiment, "What is the capital of Jura?", "", 999)


@pytest.mark.parametrize("text, job", [("Which?", "finetune"), ("A [MASK].", "pretrain")])
def test_a_stage_that_is_not_finished_is_named(world, tmp_path, text, job):
    with pytest.raises(UserError, match=f"finish the job `{job}` in this workdir first"):
        ask(world.config, world.experiment(tmp_path).folder, Arguments(text))


def test_the_text_decides_which_model_is_asked(experiment, capsys):
    for text, start in (("What is the river of Jura?", "answer: "), ("The [MASK] of Jura", "answer: ")):
        ask(experiment.config, experiment.folder, Arguments(text, passages=COUNT))
        said = capsys.readouterr().out
        assert said.startswith(start) and ("(the null passage)" in said) == ("[MASK]" in text)


@pytest.mark.parametrize("count, is_cut", [(30, False), (31, True)])
def test_a_text_that_is_cut_is_said_to_be(experiment, capsys, count, is_cut):
    ask(experiment.config, experiment.folder, Arguments("river " * count, passages=COUNT))
    note = f"of the text's {count} wordpieces the first 30 are read (data.query_length 32)\n"
    assert capsys.readouterr().out.startswith(note if is_cut else "answer: ")
