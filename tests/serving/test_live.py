"""The model gives way to a newer one while requests fly; a busy server says so."""

import threading
import time

import jax

from realm_jax.answering.learned import Stages
from realm_jax.answering.opening import load
from realm_jax.errors import UserError
from realm_jax.serving import live as live_module
from realm_jax.serving.batcher import Pace
from realm_jax.serving.live import QUESTION, Live, Work
from tests.answering.finished import save
from tests.serving.client import Served, until

ASKED = "What is the capital of Jura?"


def test_newer_results_are_taken_over_between_batches(changing, monkeypatch):
    monkeypatch.setattr(live_module, "LOOK_S", 0.1)
    model = load(changing.workdir.root)
    with Served(model) as served:
        served.wait_until_warm()
        before, seen, stop = served.get("/api/answer", text=ASKED), [], threading.Event()

        def ask():
            while not stop.is_set():
                seen.append(served.get("/api/answer", text=ASKED))

        askers = [threading.Thread(target=ask) for _ in range(4)]
        for asker in askers:
            asker.start()
        until(lambda: seen)
        learned = model._stages["finetune"]
        params = {"embedder": learned.embedder, "reader": jax.tree.map(lambda leaf: -2.0 * leaf, learned.reader)}
        save(changing, "finetune", params, 9)
        until(lambda: served.live.swaps == 1)
        until(lambda: seen[-1][1]["text"] != before[1]["text"])  # a batch rounds otherwise than one question
        stop.set()
        for asker in askers:
            asker.join()
        assert {status for status, _ in seen} == {200}
        expected = load(changing.workdir.root).answer(ASKED)
        assert seen[0][1]["text"] == before[1]["text"] != expected.text == seen[-1][1]["text"]
        assert served.live.failures == 0


def test_what_cannot_be_read_is_left(model, monkeypatch, capsys):
    live = Live(model)
    monkeypatch.setattr(model, "newest", lambda: 1 / 0)
    assert not live.refresh(Pace()) and live.model is model and live.failures == 1
    assert "cannot be read yet" in capsys.readouterr().err
    assert live.compute(QUESTION, [ASKED])[0] == model.answer(ASKED)


def test_one_wrong_request_harms_no_other(model):
    answers = Live(model).compute(Work("passage"), [1, 99, 2])
    assert [getattr(answer, "id", None) for answer in answers] == [1, None, 2]
    assert "no passage 99" in str(answers[1])


def test_answers_of_a_batch_are_those_of_the_model(served, model):
    """Of 24 clients at once, with several kinds of requests."""
    asked = [f"What is the capital of {name}?" for name in ("Jura", "Kelt", "Arland", "Boria", "Elvia", "Hovia")]
    told = {}

    def ask(number):
        text = asked[number % len(asked)]
        told[number] = served.get("/api/answer", text=text) if number % 4 else served.get("/", text=text)

    askers = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    expected = [answer.text for answer in model.answer(asked)]
    for number, (status, answer) in told.items():
        text = expected[number % len(asked)]
        assert status == 200 and (answer["text"] == text if number % 4 else f'<p class="said">{text}</p>' in answer)


def test_a_full_queue_says_when_to_ask_again(model):
    served, may, told = Served(model, waiting=2), threading.Event(), []
    may.set()
    compute = served.live.compute
    served.live.compute = lambda kind, asked: may.wait(60) and compute(kind, asked)
    with served:
        served.wait_until_warm()
        may.clear()
        askers = [threading.Thread(target=lambda: told.append(served.get("/api/answer", text=ASKED))) for _ in range(3)]
        for asker in askers:
            asker.start()
            time.sleep(0.1)
        until(lambda: served.get("/healthz")[1]["waiting"] == 2)
        for path in ("/api/answer", "/"):
            status, headers, body = served.request(f"{path}?text=Who")
            assert status == 503 and int(headers["retry-after"]) >= 1
            assert b"2 requests are waiting already" in body
        may.set()
        for asker in askers:
            asker.join()
    assert [status for status, _ in told] == [200] * 3


def test_a_stage_that_is_missing_is_looked_for_once(changing, monkeypatch):
    model, looked = load(changing.workdir.root), []

    def pretrained(self, stage):
        looked.append(stage)
        raise UserError(f"{changing.workdir.root}/start: not there")

    monkeypatch.setattr(Stages, "_pretrained", pretrained)
    with Served(model) as served:
        served.wait_until_warm()
        found = len(looked)
        status, told = served.get("/api/retrieve", text=ASKED, stage="start")
        assert status == 400 and told == {"error": "the run/start: not there"}
        page = served.get("/", text=ASKED)[1]
        assert page.count("This run has no such stage.") == 2 and 'class="said"' in page
        assert len(looked) == found
