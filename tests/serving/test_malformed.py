"""Hundreds of requests that are wrong in some way: no 5xx, and nothing of them in a page as it was sent."""

import random

from tests.serving.malformed import fault, malformed

COUNT = 300


def test_malformed_requests(served):
    draw, seen = random.Random(20), set()
    for _ in range(COUNT):
        method, path, body = malformed(draw)
        status, headers, answer = served.request(path, body, method)
        assert not fault(path, status, headers, answer), (method, path, body, answer)
        seen.add(status)
    assert {200, 400, 404, 413} <= seen <= {200, 400, 404, 405, 413}


def test_what_is_asked_stands_in_the_page_escaped(served):
    text = "<script>alert(\"1\")</script> & [MASK] 'x'"
    for asked in (
        {"text": text},
        {"text": "What is the capital of Jura?", "truth": text},
        {"text": text, "truth": "<b>"},
    ):
        page = served.get("/", **asked)[1]
        assert "<script>alert" not in page and "&lt;script&gt;alert(&#34;1&#34;)" in page
