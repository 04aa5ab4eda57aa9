"""Requests that are wrong in some way, and a look at what is answered."""

import html.parser
import json
from urllib.parse import quote_from_bytes

PIECES = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'", '"', "&", "{{ 7*7 }}", "{% raw %}", "[MASK]",
    "[mask]", "[SEP]", "what is the capital", "\u202e", "\0", "\x1b[31m", "\ud83d", "é", "中", "🜚", "</title>", 
    "javascript:", "a" * 300, "%00", "../../etc/passwd", "\r\nX-Injected: 1", " ", "",
)  # fmt: skip


def malformed(draw):
    """(method, path, body) of some request."""
    text = "".join(draw.choices(PIECES, k=draw.randint(0, 6)))
    encoded = quote_from_bytes(text.encode("utf-8", "surrogatepass")) if draw.random() < 0.9 else "%ff%"
    truth = draw.choice(["", f"&truth={encoded}", "&truth=jena"])
    match draw.randrange(5):
        case 0:
            return "GET", f"/?text={encoded}{truth}", None
        case 1:
            return "GET", f"/{draw.choice(['passage/', 'corpus?id=', ''])}{encoded[:300]}", None
        case 2:
            endpoint = draw.choice(["answer", "fill", "retrieve", "explain", "passage", "none"])
            return "GET", f"/api/{endpoint}?text={encoded}{truth}&k={draw.choice(['1', '-1', 'x', ''])}", None
    endpoint = draw.choice(["answer", "fill", "retrieve", "explain", "passage"])
    value = draw.choice([text, 7, None, [], {}, True, -1.5, text * 40, 10**30])
    body = json.dumps({draw.choice(["text", "truth", "k", "id", "stage"]): value, "text": text}).encode()
    match draw.randrange(4):
        case 0:
            body = body[: draw.randrange(len(body) + 1)]
        case 1:
            body = bytes(draw.randrange(256) for _ in range(draw.randrange(200)))
        case 2 if draw.random() < 0.2:
            body = b"[" * 70_000
    return "POST", f"/api/{endpoint}", body


class Tags(html.parser.HTMLParser):
    """The tags of a page that could do something."""

    def __init__(self, page):
        super().__init__()
        self.scripts, self.handlers, self.sources = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.sources += [value for name, value in attributes if name in ("src", "href", "action") and value]
        if tag in ("script", "img", "style", "iframe"):
            self.scripts.append((tag, dict(attributes).get("src", "").partition("?")[0]))


def fault(path, status, headers, answer):
    """What is wrong with an answer; empty where nothing is."""
    if status not in (200, 400, 404, 405, 413, 503):
        return f"status {status}"
    if "x-injected" in headers:
        return "a header of the request's"
    if not headers["content-type"].startswith("text/html"):
        json.loads(answer)
        return ""
    tags = Tags(answer.decode())
    if tags.scripts != [("script", "/pages.js")] or tags.handlers:
        return f"scripts {tags.scripts} {tags.handlers}"
    if not all(source.startswith(("/", "#")) and not source.startswith("//") for source in tags.sources):
        return f"sources {tags.sources}"
    return ""
