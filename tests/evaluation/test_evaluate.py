"""Scores of a file of predictions, with nothing prepared but questions; and the measures by patterns."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from realm_jax.config import Config, Questions
from realm_jax.errors import UserError
from realm_jax.evaluation.evaluate import Evaluation, _sum_of_starts, evaluate_file, recall_figures
from realm_jax.evaluation.recall import ranks, ranks_file
from realm_jax.index.exact import ExactIndex
from realm_jax.qa.prepared_questions import prepare_questions
from realm_jax.training.results import start_embedder
from realm_jax.workdir import Workdir, read_json

ASKED = [("who?", ["José", "Bob"]), ("where?", ["the Hague"]), ("when?", ["1954"]), ("what?", ["red sea"])]
SAID = ["Jose", "Hague!", "in 1954"]


def prepared(tmp_path, answers=tuple(answers for _, answers in ASKED), **settings) -> Config:
    file = tmp_path / "questions.jsonl"
    records = [{"question": q, "answer": a} for (q, _), a in zip(ASKED, answers, strict=True)]
    file.write_text("\n".join(map(json.dumps, records)))
    config = Config(questions=Questions(test=(str(file),), **settings))
    prepare_questions(config, Workdir(tmp_path).data(""), lambda line: None)
    return config


def predictions(tmp_path, said=SAID) -> Path:
    path = tmp_path / "said.jsonl"
    lines = [{"question": q, "prediction": s} for (q, _), s in zip(ASKED, said, strict=False)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_every_rule_is_printed_and_what_is_missing_is_wrong(tmp_path, capsys):
    evaluate_file(prepared(tmp_path), Workdir(tmp_path), predictions(tmp_path), "test")
    lines = capsys.readouterr().out.splitlines()
    assert "no prediction for 1 questions, counted as wrong, such as 'what?'" in lines[0]
    assert lines[1:] == [
        "exact match (nq_open): 0.2500 (1/4)",
        f"F1 (nq_open): {(1 + 2 / 3) / 4:.4f}",
        "exact match (squad): 0.2500 (1/4)",
        f"F1 (squad): {(1 + 2 / 3) / 4:.4f}",
        "exact match (no_accents): 0.5000 (2/4)",
        f"F1 (no_accents): {(2 + 2 / 3) / 4:.4f}",
    ]


def test_the_sets_own_rule_is_first(tmp_path, capsys):
    evaluate_file(prepared(tmp_path, match="squad"), Workdir(tmp_path), predictions(tmp_path, ["x"] * 4), "test")
    assert capsys.readouterr().out.startswith("exact match (squad): 0.0000 (0/4)\n")


def test_patterns_have_one_rule(tmp_path, capsys):
    config = prepared(tmp_path, [["jos."], ["h.g"], ["19\\d\\d"], ["sea"]], match="regex")
    evaluate_file(config, Workdir(tmp_path), predictions(tmp_path), "test")
    assert capsys.readouterr().out.splitlines()[1:] == ["exact match (regex): 0.5000 (2/4)"]


def test_other_questions_and_splits_are_refused(tmp_path):
    config, path = prepared(tmp_path), predictions(tmp_path)
    with pytest.raises(UserError, match="no split 'dev'; there are test"):
        evaluate_file(config, Workdir(tmp_path), path, "dev")
    path.write_text('{"question": "whose?", "prediction": "x"}')
    with pytest.raises(UserError, match=r"said.jsonl:1: question 'whose\?' is none of this split's 4"):
        evaluate_file(config, Workdir(tmp_path), path, "test")


def test_patterns_are_measured_as_the_answers_they_stand_for(world, tmp_path):
    literal = Evaluation(world.experiment(tmp_path))
    found = Evaluation(world.experiment(tmp_path, questions=world.patterns(tmp_path)))
    rows = np.tile(np.arange(world.experiment(tmp_path).store.num_passages), (4, 1))
    np.testing.assert_array_equal(found._hits("test", rows), literal._hits("test", rows))
    questions = found._questions["test"]
    said = [*(answers[0] for answers in literal._questions["test"].answers[:2]), "nowhere", ""]
    assert found._score("said", said, questions, "") == {"qa/exact_match": 0.5}  # patterns have no F1
    assert literal._score("said", said, literal._questions["test"], "") == {"qa/exact_match": 0.5, "qa/f1": 0.5}
    assert {file.suffix for file in (tmp_path / "evaluation").iterdir()} == {".jsonl", ".preds", ".tsv"}


def test_every_split_is_measured_under_names_of_its_own(world, tmp_path):
    """Of new kinds each answer stands somewhere, of dev one in two, of test none; of training nothing is measured."""
    somewhere, nowhere = "Akko", "Nowhere"
    answers = {"train": [nowhere], "dev": [somewhere, nowhere], "test": [nowhere]}
    answers |= {"dev_new_kinds": [somewhere], "test_new_kinds": [somewhere] * 3}
    for split, texts in answers.items():
        lines = [json.dumps({"question": f"{split} {i}?", "answer": [text]}) for i, text in enumerate(texts)]
        (tmp_path / split).write_text("\n".join(lines))
    settings = Questions(**{split: (str(tmp_path / split),) for split in answers})
    prepare_questions(world.settings(questions=settings), world.data, lambda line: None)
    run = world.experiment(tmp_path, questions=settings)
    vectors = np.random.default_rng(0).normal(size=(run.store.num_passages, 8)).astype(np.float32)
    embedder = start_embedder(run, jax.random.key(0))
    figures, rows = Evaluation(run)._question_recall(embedder, ExactIndex(vectors), "_start")
    of = {"dev": ("_dev", 0.5), "dev_new_kinds": ("_dev_new_kinds", 1.0), "test": ("", 0.0)}
    of |= {"test_new_kinds": ("_new_kinds", 1.0)}
    assert {split: len(found) for split, found in rows.items()} == {split: len(answers[split]) for split in of}
    for ending, share in of.values():
        assert figures[f"retrieval/recall@100{ending}_start"] == share
    assert len(figures) == 4 * len(of)
    places = read_json(ranks_file(run.workdir, "_start"))
    assert {split: [rank > 0 for rank in ranks] for split, ranks in places.items()} == {
        split: [text == somewhere for text in answers[split]] for split in of
    }


def test_ranks_are_those_of_the_first_hit():
    hits = np.array([[0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]], bool)
    assert ranks(hits) == [2, 0, 1, 3]


def test_recall_at_every_depth():
    hits = np.zeros((4, 30), bool)
    hits[0, 0] = hits[1, 3] = hits[2, 25] = True
    expected = {"recall@1": 0.25, "recall@5": 0.5, "recall@20": 0.5, "recall@100": 0.75}
    assert recall_figures(hits, "") == {f"retrieval/{name}": value for name, value in expected.items()}


def test_seconds_that_every_start_counts_anew_are_summed():
    assert _sum_of_starts([0.0, 2.0, 5.0, 0.0, 1.0, 1.0, 0.5]) == 6.5
    assert _sum_of_starts([]) == 0.0
