"""Question files in each published format, small; and what is said of faulty ones."""

import json

import pytest
import tensorflow_datasets as tfds

from realm_jax.config import Questions
from realm_jax.corpus import tfds_files
from realm_jax.errors import UserError
from realm_jax.qa.question_files import digit, read_questions

NQ_OPEN = """\
{"question": "when was the last time anyone was on the moon", "answer": ["14 December 1972 UTC", "December 1972"]}
{"question": "who won the men's pok\\u00e9mon title", "answer": ["Jos\\u00e9"]}
"""
WEB_QUESTIONS = """\
[
 {"qId": "wqr000000", "answers": ["Jazmyn Bieber", "Jaxon Bieber"], "qText": "who is justin bieber's brother?"},
 {"qId": "wqr000020", "answers": ["Ngurah Rai Airport"], "qText": "where to fly into bali?"}
]
"""
SEMPRE = [
    {
        "url": "http://www.freebase.com/view/en/justin_bieber",
        "targetValue": '(list (description Padmé) (description "Jazmyn Bieber") (description "The \\"X\\" (2)"))',
        "utterance": "who is justin bieber's brother?",
    }
]
CURATED_TREC = """\
1669\tfactoid\tHow tall is Mount McKinley?\t20\\s?,?\\s?(32|40)0\\s?-?\\s?f(ee|oo)t|6,194-meter
1544\tfactoid\tWhat is the most populated country in the world?\tChina
"""


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def read(*files, **settings):
    return read_questions(Questions(test=files, **settings), lambda line: None)["test"]


def fault(*files, **settings):
    with pytest.raises(UserError) as error:
        read(*files, **settings)
    return str(error.value)


def test_nq_open(tmp_path):
    one, two = read(write(tmp_path / "NQ-open.dev.jsonl", NQ_OPEN))
    assert one.question == "when was the last time anyone was on the moon"
    assert one.answers == ("14 December 1972 UTC", "December 1972") and two.answers == ("José",)
    assert (one.id, two.id) == ("test-0", "test-1")


def test_web_questions(tmp_path):
    one, two = read(write(tmp_path / "test.json", WEB_QUESTIONS))
    assert (one.id, one.answers) == ("wqr000000", ("Jazmyn Bieber", "Jaxon Bieber"))
    assert (two.id, two.question) == ("wqr000020", "where to fly into bali?")


@pytest.mark.parametrize("indent", [None, 1])
def test_web_questions_as_first_published(tmp_path, indent):
    (question,) = read(write(tmp_path / "webquestions.examples.test.json", json.dumps(SEMPRE, indent=indent)))
    assert question.answers == ("Padmé", "Jazmyn Bieber", 'The "X" (2)')


def test_curated_trec(tmp_path):
    one, two = read(write(tmp_path / "curated-test.tsv", CURATED_TREC), match="regex")
    assert (one.id, one.kind, one.question) == ("1669", "factoid", "How tall is Mount McKinley?")
    assert one.answers == (r"20\s?,?\s?(32|40)0\s?-?\s?f(ee|oo)t|6,194-meter",) and two.answers == ("China",)


def test_drqas_form_of_curated_trec(tmp_path):
    line = json.dumps({"question": "How tall?", "answer": [r"20\s?,?\s?320"]})
    (question,) = read(write(tmp_path / "CuratedTrec-test.txt", line), match="regex")
    assert question.answers == (r"20\s?,?\s?320",)


def test_own_json_lines(tmp_path):
    lines = b'\xef\xbb\xbf{"id": 7, "question": "Who?", "answers": "me", "subject": "s", "kind": "k"}\r\n\r\n'
    (question,) = read(write(tmp_path / "own.jsonl", lines))
    assert (question.id, question.answers, question.subject, question.kind) == ("7", ("me",), "s", "k")


def test_null_is_as_good_as_absent(tmp_path):
    row = '{"id": null, "question": "Who?", "answer": "x", "subject": null, "kind": null}\n'
    found = read(write(tmp_path / "own.jsonl", row * 2))
    assert [(q.id, q.subject, q.kind) for q in found] == [("test-0", "", ""), ("test-1", "", "")]


def test_several_files_are_one_split(tmp_path):
    files = [write(tmp_path / f"{i}.jsonl", json.dumps({"question": f"{i}?", "answer": ["x"]})) for i in range(3)]
    assert [(q.id, q.question) for q in read(*files)] == [("test-0", "0?"), ("test-1", "1?"), ("test-2", "2?")]


class NaturalQuestionsOpen(tfds_files.LocalBuilder, skip_registration=True):
    """The features of TFDS's own builder."""

    name = "natural_questions_open"

    def features(self):
        return {"question": tfds.features.Text(), "answer": tfds.features.Sequence(tfds.features.Text())}


def test_tfds(tmp_path):
    records = [json.loads(line) for line in NQ_OPEN.splitlines()]
    tfds_files.write(NaturalQuestionsOpen, tmp_path, {"validation": lambda: records})
    folder = tmp_path / "natural_questions_open" / "1.0.0"
    assert [list(q.answers) for q in read(f"{folder}:validation")] == [record["answer"] for record in records]
    assert len(read(f"{folder}:validation[:1]")) == 1
    assert "no such split; there are validation" in fault(f"{folder}:test")
    assert "no such split; there are validation" in fault(str(folder))
    assert "no data set that TFDS has prepared" in fault(f"{tmp_path}:train")
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    assert "tfds build natural_questions_open --file_format array_record" in fault(f"{folder}:validation")


# ORQA's split


def test_digits_are_tensorflows():
    """tf.strings.to_hash_bucket_fast(["a", "b", "c"], 10) is [9, 2, 2] (TensorFlow's own test)."""
    assert [digit(text) for text in "abc"] == [9, 2, 2]


def test_orqas_dev_set(tmp_path):
    """WebQuestions' first ten training questions; of all 3,778, 361 fall to dev, the published number."""
    asked = ["what two countries invaded poland in the beginning of ww2?", "where to fly into bali?"]
    assert [digit(question) == 0 for question in asked] == [True, False]
    lines = [json.dumps({"question": f"question {i}", "answer": ["x"]}) for i in range(300)]
    file = write(tmp_path / "train.jsonl", "\n".join(lines))
    splits = read_questions(Questions(train=(file,), test=(file,)), print)
    assert [len(splits[split]) for split in ("train", "dev", "test")] == [
        300 - len(splits["dev"]),
        len(splits["dev"]),
        300,
    ]
    assert 15 < len(splits["dev"]) < 50
    assert all((digit(q.question) == 0) == (q in splits["dev"]) for q in splits["train"] + splits["dev"])
    alone = read_questions(Questions(train=(file,)), print)
    assert list(alone) == ["train", "dev", "test"] and alone["dev"] == splits["dev"]
    assert {digit(q.question) for q in alone["test"]} == {1} and sum(map(len, alone.values())) == 300
    assert set(read_questions(Questions(dev=(file,), test=(file,)), print)) == {"dev", "test"}


def test_a_split_that_comes_out_empty(tmp_path):
    file = write(tmp_path / "few.jsonl", '{"question": "a", "answer": ["x"]}')
    with pytest.raises(UserError, match=r"questions\.dev: .* so few \(1\) that is none; name a file: --questions.dev"):
        read_questions(Questions(train=(file,), test=(file,)), print)
    assert f"questions.test: no question in {tmp_path}/empty.jsonl" in fault(write(tmp_path / "empty.jsonl", "\n"))


# Faults


@pytest.mark.parametrize(
    "line, complaint",
    [
        ('{"question": "Who?"}', "no field 'answer'; a question has 'question' and 'answer', here are 'question'"),
        ('{"answer": ["x"]}', "no field 'question'"),
        ("{}", "here are none"),
        ('{"question": "Who?", "answer": 3}', "the answers are 3; they must be a text or a list of texts"),
        ('{"question": "Who?", "answer": ["x", null]}', 'the answers are ["x", null]'),
        ('{"question": ["Who?"], "answer": "x"}', 'the question is ["Who?"]; it must be a text'),
        ('{"question": "Who?", "answer": []}', "no answers; give one or leave the record out"),
        ('{"question": "Who?", "answer": [" "]}', "no answers"),
        ('{"question": " ", "answer": ["x"]}', "the question is empty"),
        ('"Who?"', "a record with 'question' and 'answer' is wanted"),
        ('{"question": "Who?", "answer"', "not valid JSON (Expecting ':' delimiter, character 30)"),
        (f'{{"question": "Who?", "answer": {"[" * 100_000}', "not valid JSON (nested too deeply)"),
        (
            f'{{"question": "Who?", "answer": "x", "id": {"9" * 5000}}}',
            "not valid JSON (a number of thousands of digits)",
        ),
        ("""{"question": "Who?", "answer": "['1871', 'in 1871']"}""", "a list written as a text"),
        ("""{"question": "Who?", "answer": ["x", "['a' 'b']"]}""", "a list written as a text"),
        (b'{"question": "Who\xff?", "answer": "x"}', "not UTF-8 (byte 18 of the line is 0xff)"),
        (r'{"question": "Who \ud83d?", "answer": "x"}', r"'Who \ud83d?': character 5 is half of one"),
        (r'{"question": "Who?", "answer": ["x", "\ud83d"]}', "character 1 is half of one"),
        ('{"id": "a", "question": "Who?", "answer": "x"}', "id 'a' is at {file}:1 already"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, complaint):
    good = [b'{"id": "a", "question": "Which?", "answer": ["x"]}', b""]
    end = b'{"id": "z", "question": "What?", "answer": ["x"]}'
    file = tmp_path / "questions.jsonl"
    write(file, b"\n".join([*good, line if isinstance(line, bytes) else line.encode(), end]))
    message = fault(str(file))
    assert f"{file}:3" in message and complaint.format(file=file) in message
    assert "1 faulty questions" in message and "questions.skip_faulty" in message
    said = []
    left = read_questions(Questions(test=(str(file),), skip_faulty=True), said.append)["test"]
    assert [question.id for question in left] == ["a", "z"]
    assert "left out 1 faulty questions" in said[0] and f"{file}:3" in said[0]


def test_a_pattern_that_does_not_compile_is_named(tmp_path):
    file = write(tmp_path / "curated.tsv", CURATED_TREC + "3\tfactoid\tWhen?\tSept?(ember\n4\tfactoid\tHow?\n")
    message = fault(file, match="regex")
    assert f"{file}:3: answer 'Sept?(ember': not a regular expression" in message
    assert f"{file}:4: 3 fields; 4 are wanted: id, kind, question, regular expression" in message
    assert "set questions.match regex" in fault(file)


def test_faults_of_an_array_name_the_line_of_the_record(tmp_path):
    file = write(tmp_path / "web.json", WEB_QUESTIONS.replace('"answers": ["Ngurah Rai Airport"], ', ""))
    assert f"{file}:3: no field 'answer'" in fault(file)
    file = write(tmp_path / "twice.json", WEB_QUESTIONS.replace("wqr000020", "wqr000000"))
    assert f"{file}:3: id 'wqr000000' is at {file}:2 already" in fault(file)
    file = write(tmp_path / "cut.json", WEB_QUESTIONS[:-5])
    assert f"{file}:3: not valid JSON" in fault(file)
    file = write(tmp_path / "latin.json", WEB_QUESTIONS.encode().replace(b"bali", b"b\xe1li"))
    assert f"{file}:3: not UTF-8" in fault(file)


def test_the_first_ten_faults_are_listed(tmp_path):
    file = write(tmp_path / "many.jsonl", "\n".join(["{}"] * 12))
    message = fault(file)
    assert "12 faulty questions" in message and f"{file}:10:" in message and f"{file}:11:" not in message
    assert "and 2 more" in message


def test_a_missing_file_is_named(tmp_path):
    assert f"{tmp_path}/none.jsonl: cannot be read" in fault(f"{tmp_path}/none.jsonl")
