import json

import pytest

from realm_jax.errors import UserError
from realm_jax.qa.predictions import read_predictions, write_predictions
from realm_jax.qa.questions import Question

QUESTIONS = [
    Question("a", "who wrote  it", ("Bobby Scott", "Bob Russell")),
    Question("b", "where is Málaga?", ("Spain",)),
    Question("c", "What continent is India on?", ("Asia",)),
    Question("d", "What continent is India on?", ("Asian",)),
]
ANSWERS = ["Bob\tScott", "España", "Asia", ""]


@pytest.mark.parametrize("match, suffixes", [("nq_open", [".jsonl", ".tsv"]), ("regex", [".jsonl", ".preds"])])
def test_what_is_written_is_read(tmp_path, match, suffixes):
    write_predictions(tmp_path / "evaluation", "predictions_test", QUESTIONS, ANSWERS, match)
    files = sorted((tmp_path / "evaluation").iterdir())
    assert [file.suffix for file in files] == suffixes
    for file in files:
        assert read_predictions(file, QUESTIONS) == ANSWERS


def test_the_forms_are_the_official_ones(tmp_path):
    """As google-research/language's orqa/utils/eval_utils.py, SEMPRE's evaluation.py and DrQA's eval.py read them."""
    write_predictions(tmp_path, "text", QUESTIONS, ANSWERS, "nq_open")
    write_predictions(tmp_path, "regex", QUESTIONS, ANSWERS, "regex")
    records = [json.loads(line) for line in (tmp_path / "text.jsonl").read_text().splitlines()]
    assert [(r["question"], r["prediction"]) for r in records] == [
        (q.question, said) for q, said in zip(QUESTIONS, ANSWERS, strict=True)
    ]
    fields = [line.split("\t") for line in (tmp_path / "text.tsv").read_text().splitlines()]
    assert [json.loads(gold) for _, gold, _ in fields] == [list(q.answers) for q in QUESTIONS]
    assert [json.loads(said) for _, _, said in fields] == [[said] for said in ANSWERS]
    spans = [json.loads(line)[0]["span"] for line in (tmp_path / "regex.preds").read_text().splitlines()]
    assert spans == ANSWERS


def read(tmp_path, *lines):
    file = tmp_path / "predictions"
    file.write_bytes("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode())
    return read_predictions(file, QUESTIONS)


def test_questions_without_a_prediction(tmp_path):
    lines = {"question": "where is Málaga?", "prediction": "Spain"}, {"id": "a", "prediction": "x"}
    assert read(tmp_path, *lines) == ["x", "Spain", None, None]
    assert read(tmp_path, [{"span": "x"}, {"span": "y"}], []) == ["x", "", None, None]
    assert read(tmp_path, 'where is Málaga?\t["Spain"]\t[]') == [None, "", None, None]


def test_questions_of_one_wording(tmp_path):
    line = {"question": "What continent is India on?"}
    assert read(tmp_path, line | {"prediction": "Asia"}) == [None, None, "Asia", "Asia"]
    two = [line | {"prediction": "Asia"}, line | {"prediction": "Eurasia"}]
    assert read(tmp_path, *two) == [None, None, "Asia", "Eurasia"]
    with pytest.raises(UserError, match=r"predictions:3: question 'What continent is India on\?' has been answered"):
        read(tmp_path, *two, line | {"prediction": "x"})


@pytest.mark.parametrize(
    "line, complaint",
    [
        ({"id": "b", "prediction": "y"}, "id 'b' has been answered already, at {file}:1"),
        ([{"span": "y"}], "line '2' has been answered already, at {file}:1"),
    ],
)
def test_a_question_answered_in_two_ways(tmp_path, line, complaint):
    with pytest.raises(UserError) as error:
        read(tmp_path, {"question": "where is Málaga?", "prediction": "x"}, line)
    assert f"{tmp_path}/predictions:2: {complaint.format(file=tmp_path / 'predictions')}" in str(error.value)


@pytest.mark.parametrize(
    "line, complaint",
    [
        ({"question": "who else?", "prediction": "x"}, "question 'who else?' is none of this split's 4"),
        ({"id": "z", "prediction": "x"}, "id 'z' is none of this split's 4"),
        ({"prediction": "x"}, "neither 'question' nor 'id'; here are 'prediction'"),
        ({"question": "where is Málaga?"}, "no text in a field 'prediction'"),
        ({"question": "where is Málaga?", "prediction": ["x"]}, "no text in a field 'prediction'"),
        ([{"text": "x"}], "no text in a field 'span'"),
        ("where is Málaga?\tSpain", "2 fields; 3 are wanted"),
        ("where is Málaga?\t[]\tSpain", "not valid JSON"),
        ('where is Málaga?\t[]\t"Spain"', 'the third field is "Spain"; it must be a JSON list'),
        ('{"question": ', "not valid JSON"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, complaint):
    with pytest.raises(UserError) as error:
        read(tmp_path, {"question": QUESTIONS[0].question, "prediction": "x"}, line)
    assert f"{tmp_path}/predictions:2: {complaint}" in str(error.value)
    assert "In a file of predictions a line is" in str(error.value)


def test_more_lines_than_questions(tmp_path):
    with pytest.raises(UserError, match="predictions:5: line '5' is none of this split's 4"):
        read(tmp_path, *[[{"span": "x"}]] * 5)


def test_no_utf8_and_no_file(tmp_path):
    (tmp_path / "latin").write_bytes(b'{"question": "M\xe1laga"}')
    with pytest.raises(UserError, match="latin:1: not UTF-8"):
        read_predictions(tmp_path / "latin", QUESTIONS)
    with pytest.raises(UserError, match="--predictions: .*none: cannot be read"):
        read_predictions(tmp_path / "none", QUESTIONS)
