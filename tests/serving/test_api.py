"""The JSON API over a tiny run: results, messages, limits, and the description of it all."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from realm_jax.answering.model import Model
from realm_jax.serving import openapi
from realm_jax.serving.app import BODY, HEADERS, Limits, make_app
from realm_jax.serving.asked import ENDPOINTS
from realm_jax.serving.batcher import Batcher
from realm_jax.serving.pages import Pages
from realm_jax.serving.service import Service
from tests.serving.client import Served

QUESTION, SENTENCE = "What is the capital of Jura?", "The capital of Jura is [MASK]."


def as_json(result):
    return json.loads(json.dumps(dataclasses.asdict(result)))


def near(told, expected):
    """Equal but for what another order of sums makes of numbers."""
    if isinstance(expected, dict):
        return told.keys() == expected.keys() and all(near(told[name], expected[name]) for name in expected)
    if isinstance(expected, list):
        return len(told) == len(expected) and all(map(near, told, expected))
    return told == (pytest.approx(expected, rel=1e-4, abs=1e-6) if isinstance(expected, float) else expected)


@pytest.mark.parametrize(
    "endpoint, asked, ask",
    [
        ("answer", {"text": QUESTION}, lambda model: model.answer(QUESTION)),
        ("retrieve", {"text": QUESTION, "k": 3}, lambda model: model.retrieve(QUESTION, 3)),
        (
            "retrieve",
            {"text": SENTENCE, "k": 33, "stage": "start"},
            lambda model: model.at("start").retrieve(SENTENCE, 33),
        ),
        ("fill", {"text": SENTENCE}, lambda model: model.fill(SENTENCE)),
        ("fill", {"text": SENTENCE, "stage": "start"}, lambda model: model.at("start").fill(SENTENCE)),
        ("explain", {"text": QUESTION, "truth": "Jena"}, lambda model: model.explain(QUESTION, "Jena")),
        ("explain", {"text": SENTENCE, "truth": "jena"}, lambda model: model.explain(SENTENCE, "jena")),
        ("passage", {"id": 3, "neighbours": 2}, lambda model: model.passage(3, 2)),
    ],
)
def test_results_are_those_of_the_model(served, model, endpoint, asked, ask):
    for status, told in (served.get(f"/api/{endpoint}", **asked), served.post(f"/api/{endpoint}", **asked)):
        assert status == 200 and near(told, as_json(ask(model)))


def test_a_passage_knows_its_article_and_its_neighbours(model):
    stored = model.passage(1, 4)
    texts = [model.passage(id, 0) for id in stored.article]
    assert stored.article == (0, 1) and {one.title for one in texts} == {stored.title}
    scores = [passage.score for passage in stored.neighbours]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    assert stored.id not in [passage.id for passage in stored.neighbours]
    assert len(model.passage(1, 10**6).neighbours) == model.num_passages - 1
    assert model.wordpieces("Jura is [MASK]") == ("[CLS]", "jura", "is", "[MASK]", "[SEP]")


@pytest.mark.parametrize(
    "endpoint, body, message",
    [
        ("answer", b"", "not valid JSON"),
        ("answer", b"[1]", "the body is no JSON object"),
        ("answer", b"\xff", "not UTF-8"),
        ("answer", b"[" * 60000, "nested too deeply"),
        ("answer", b'{"text": ' + b"9" * 5000 + b"}", "a number of thousands of digits"),
        ("answer", b"{}", "text: is missing; A question"),
        ("answer", b'{"text": null}', "text: is null"),
        ("answer", b'{"text": 7}', "text: 7 is no string"),
        ("answer", b'{"text": ["a"]}', "text: ['a'] is no string"),
        ("answer", b'{"text": "  "}', "text: '  ' is empty"),
        ("answer", b'{"text": "a\\u0007b"}', "text: character 2 is U+0007"),
        ("answer", b'{"text": "\\ud800"}', "text: character 1 is U+D800"),
        ("answer", b'{"text": "[mask]"}', "written [MASK], in capitals"),
        ("answer", b'{"text": "[MASK]"}', "text: has [MASK], which `fill`"),
        ("answer", json.dumps({"text": "a" * 2001}).encode(), "text: 2,001 characters, but at most 2,000"),
        ("answer", b'{"text": "a", "tekst": "b"}', "'tekst': no such parameter; did you mean 'text'?"),
        ("fill", b'{"text": "Who?"}', "has no [MASK]"),
        ("fill", b'{"text": "[MASK]", "stage": "end"}', "stage: 'end' is none; there are start, pretrain, finetune"),
        ("fill", b'{"text": "[MASK]", "stage": "finetune"}', "the pre-trained model alone fills [MASK]"),
        ("fill", json.dumps({"text": "[MASK] " * 9}).encode(), "9 [MASK], but at most 8"),
        ("explain", b'{"text": "Who?", "truth": " "}', "truth: is empty"),
        ("explain", b'{"text": "[MASK] [MASK]", "truth": "lake"}', "is 1 wordpieces, but 2 [MASK] are there"),
        ("retrieve", b'{"text": "a", "k": 0}', "k: 0 is out of range; it must be 1 to 100"),
        ("retrieve", b'{"text": "a", "k": true}', "k: True is no whole number"),
        ("retrieve", b'{"text": "a", "k": 1.5}', "k: 1.5 is no whole number"),
        ("retrieve", b'{"text": "a", "k": "3"}', "k: '3' is no whole number"),
        ("answer", b'{"text": "a", "unknown": 1}', "unknown: 1 is neither true nor false"),
        ("passage", b'{"id": 33}', "id: no passage 33; they are numbered from 0 to 32"),
        ("passage", b'{"id": -1}', "id: -1 is out of range; it must be 0 or more"),
    ],
)
def test_wrong_bodies_are_told_what_is_wrong(served, endpoint, body, message):
    status, _, told = served.request(f"/api/{endpoint}", body)
    assert status == 400 and message in json.loads(told)["error"]


@pytest.mark.parametrize(
    "address, message",
    [
        ("answer", "text: is missing"),
        ("answer?text=a&text=b", "'text': is there twice"),
        ("answer?text=%ff", "no percent-encoded UTF-8"),
        ("answer?text=%00", "character 1 is U+0000"),
        ("answer?text=%C2%85", "character 1 is U+0085"),
        ("answer?" + "&".join(f"a{i}=1" for i in range(21)), "more than 20 parameters"),
        ("answer?text=a&unknown=True", "unknown: 'True' is neither true nor false"),
        ("passage?id=1e3", "id: '1e3' is no whole number"),
        ("passage?id=%D9%A3", "is no whole number"),
        ("passage?id=99999999999999999999", "is no whole number"),
    ],
)
def test_wrong_addresses_are_told_what_is_wrong(served, address, message):
    status, _, told = served.request(f"/api/{address}")
    assert status == 400 and message in json.loads(told)["error"]


def test_what_is_not_there(served):
    assert served.get("/api/nothing") == (404, {"error": "there is no such page"})
    assert served.get("/nothing")[0] == 404
    assert served.request("/api/answer", method="DELETE")[0] == 405


def test_long_bodies_are_refused(served):
    assert served.request("/api/answer", b" " * BODY)[0] == 400
    status, _, told = served.request("/api/answer", b" " * (BODY + 1))
    assert status == 413 and json.loads(told) == {"error": "the body has more than 64 KiB"}

    def chunks():
        yield from [b"x" * 5000] * 100

    status, _, told = served.request("/api/answer", chunks())
    assert status == 413


def test_every_answer_is_safe(served):
    for path in ("/", "/api/answer", "/nothing", "/passage/1", "/pages.css", "/healthz", "/metrics", "/openapi.json"):
        headers = served.request(path)[1]
        for name, value in HEADERS.items():
            assert headers[name] == value or name == "cache-control" and path == "/pages.css"
        assert "server" not in headers
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy and "http" not in policy and policy.startswith("default-src 'none';")


def test_other_names_of_the_host_are_refused(served, model):
    for name, status in (("localhost", 200), (f"127.0.0.1:{served.port}", 200), ("[::1]:80", 200)):
        assert served.request("/healthz", headers={"Host": name})[0] == status
    status, _, told = served.request("/healthz", headers={"Host": "evil.example"})
    assert status == 400 and "--names" in json.loads(told)["error"]
    with Served(model, hosts=()) as everywhere:
        assert everywhere.request("/healthz", headers={"Host": "evil.example"})[0] == 200


def test_no_paths_in_messages(served, model):
    service = Service(served.live, Batcher(served.live.compute, [1], 1, 1.0))
    root = model.workdir.root
    assert service.without_paths(f"{root}: no stage; or /etc/x y.z/a:3 or/and gs://bucket/run/a") == (
        "the run: no stage; or x y.z/a:3 or/and a"
    )
    assert served.get("/api/retrieve", text="a", stage="start")[0] == 200
    assert str(root) not in str([served.get("/api/answer", text="[MASK]"), served.get("/", text=QUESTION)])


def test_what_is_not_known_is_said_where_that_is_asked_for(served, model, monkeypatch):
    """By the API; the page says it always, and keeps the guess."""
    asked, answer = {"text": QUESTION, "unknown": "true"}, model.answer(QUESTION)
    status, told = served.get("/api/answer", **asked)
    assert status == 400 and "run `evaluate`" in told["error"] and "the run: " in told["error"]
    for below, unknown in ((0.0, False), (2.0, True)):
        monkeypatch.setattr(Model, "unknown_below", below)
        for _, told in (served.get("/api/answer", **asked), served.post("/api/answer", text=QUESTION, unknown=True)):
            assert (told["text"], told["unknown"]) == ("" if unknown else answer.text, unknown)
        for given in ({}, {"unknown": "false"}):
            assert served.get("/api/answer", text=QUESTION, **given)[1]["text"] == answer.text
        page = served.get("/", text=QUESTION)[1]
        assert ('<p class="said">Not known</p>' in page) == unknown
        assert f'<p class="{"guess" if unknown else "said"}">{answer.text}</p>' in page
    told = served.get("/api/fill", text=SENTENCE, unknown="true")[1]
    assert near(told, as_json(model.fill(SENTENCE, unknown=True)))


def test_metrics_and_health(served):
    before = read(served, "realm_requests_total", path="/api/answer", status="200")
    assert served.get("/api/answer", text=QUESTION)[0] == 200
    assert read(served, "realm_requests_total", path="/api/answer", status="200") == before + 1
    assert read(served, "realm_request_seconds_count", path="/api/answer") >= before + 1
    assert read(served, "realm_warm") == 1 and read(served, "realm_queue_requests") == 0
    assert 0 < read(served, "realm_snapshot_age_seconds") < 86400
    served.get("/some/../thing")
    assert read(served, "realm_requests_total", path="other", status="404") > 0
    assert served.get("/healthz") == (200, {"status": "ok", "warm": True, "waiting": 0, "passages": 33})


def read(served, name, **labels):
    """A value of /metrics; 0 where it is not there."""
    wanted = name + ("{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else "")
    found = re.search(rf"^{re.escape(wanted)} (\S+)$", served.get("/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_the_description_fits_what_is_answered(served):
    told = served.get("/openapi.json")[1]
    assert told == json.loads(json.dumps(openapi.description())) and told["openapi"].startswith("3.1")
    schemas = told["components"]["schemas"]

    def fits(value, schema):
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            return any(fits(value, one) for one in schema["anyOf"])
        match schema["type"]:
            case "object":
                properties = schema["properties"]
                return value.keys() == set(schema["required"]) and all(fits(value[n], properties[n]) for n in value)
            case "array":
                if not isinstance(value, list) or schema.get("minItems", len(value)) != len(value):
                    return False
                return all(fits(one, schema["items"]) for one in value)
        kinds = {"string": str, "integer": int, "number": (int, float), "null": type(None), "boolean": bool}
        return isinstance(value, kinds[schema["type"]])

    for endpoint, given in (
        ("answer", {"text": QUESTION}),
        ("fill", {"text": SENTENCE}),
        ("explain", {"text": QUESTION, "truth": "zzz"}),
        ("retrieve", {"text": QUESTION}),
        ("passage", {"id": 0}),
    ):
        path = told["paths"][f"/api/{endpoint}"]
        schema = path["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert fits(served.get(f"/api/{endpoint}", **given)[1], schema)
        assert set(given) <= {parameter["name"] for parameter in path["get"]["parameters"]}


def test_every_route_but_the_pages_is_described(served):
    """In the description, and on the page of the documents."""
    pages = {route.path for route in Pages(lambda: None).routes()}
    routes = [route for route in make_app(served.live, Limits()).routes if route.path not in pages]
    described = {path: {method.upper() for method in of} for path, of in openapi.description()["paths"].items()}
    assert {route.path: route.methods - {"HEAD"} for route in routes} == described
    assert served.get("/healthz")[1].keys() == openapi.HEALTH.keys()
    page = (Path(__file__).parents[2] / "docs/serve.md").read_text()
    rows = re.findall(r"^\| `/api/(\w+)` \| ([^|]*) \|", page, re.MULTILINE)
    told = {name: re.findall(r"`(\w+)`", parameters) for name, parameters in rows}
    assert told == {name: list(endpoint.parameters) for name, endpoint in ENDPOINTS.items()}
    assert re.findall(r"^\| (\d{3}) \|", page, re.MULTILINE) == list(openapi.ERRORS)
    assert all(path in page for path in described.keys() - {f"/api/{name}" for name in ENDPOINTS})
    measured = re.findall(r"^# HELP (realm_\w+)", served.get("/metrics")[1], re.MULTILINE)
    assert len(measured) > 5 and all(f"`{name}`" in page for name in measured if not name.endswith("_created"))
