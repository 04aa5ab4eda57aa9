"""The pages, whole as they leave the server: they need no script, and a link holds the request."""

import asyncio
import dataclasses
import functools
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from realm_jax.answering.asked import MASK
from realm_jax.answering.learned import FINETUNE, POINTS, PRETRAIN, START
from realm_jax.answering.results import Answer, Explanation, Filling, Passage, Retrieved, Stored, if_sure
from realm_jax.answering.shown import parts
from realm_jax.errors import UserError
from realm_jax.serving import asked
from realm_jax.serving.live import Work
from realm_jax.serving.service import Service
from realm_jax.serving.suggested import suggested

TITLES = {START: "Start", PRETRAIN: "After pre-training", FINETUNE: "Fine-tuned"}
SHOWN, DEPTH = 5, 20
"""Passages of a stage that are shown, of those among which the first hit is looked for."""
A_PAGE = 25
"""Passages of the corpus."""
STATIC = {
    "pages.css": "text/css; charset=utf-8",
    "pages.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
TEXT = dataclasses.replace(asked.TEXT, default="")
TRUTH = dataclasses.replace(asked.TRUTH, default="")


@dataclasses.dataclass(frozen=True)
class Column:
    """What a stage retrieves."""

    title: str
    passages: list[tuple[Passage, tuple[str, str, str] | None]]
    """The best ones, with their text before, in and after the words looked for, if they hold them."""
    first: int | None
    """Rank of the first passage that holds it, among DEPTH."""
    said: Filling | None
    missing: str
    """Why there is none; empty where there is."""


class Pages:
    """The addresses that a browser is given."""

    def __init__(self, service: Callable[[], Service]):
        self._service = service

    def routes(self) -> list[Route]:
        return [
            Route("/", self.ask),
            Route("/passage/{id}", self.passage),
            Route("/corpus", self.corpus),
            *(Route(f"/{name}", self.static) for name in STATIC),
        ]

    async def ask(self, request: Request) -> Response:
        """A question, and the result for it."""
        service = self._service()
        given = asked.checked({"text": TEXT, "truth": TRUTH}, asked.of_address(request.scope["query_string"]))
        text, truth = given["text"].strip(), given["truth"].strip()
        if not text:
            model = service.live.model
            return self._page("ask", examples=await asyncio.to_thread(suggested, model.config, model.workdir))
        masked = MASK in text
        endpoint = "explain" if truth else "fill" if masked else "answer"
        found, *columns = await _together(
            service.ask(endpoint, {"text": text, "truth": truth}),
            *(self._retrieved(text, stage) for stage in POINTS),
            *((self._said(text, truth, START),) if masked else ()),
        )
        result: Answer | Filling = found.found if isinstance(found, Explanation) else found
        said = {START: columns[len(POINTS)], PRETRAIN: result} if masked else {}
        wanted, below = truth or result.text, None if masked else await self._unknown_below()
        return self._page(
            "ask", text=text, truth=truth, found=found, result=result, masked=masked, wanted=wanted,
            below=below, unknown=if_sure(result, below).unknown,
            explained=found if isinstance(found, Explanation) else None,
            columns=[_column(stage, got, wanted, said.get(stage)) for stage, got in zip(POINTS, columns)],
            pieces=service.live.model.wordpieces(text), scale=self._scale(masked), endpoint=endpoint,
        )  # fmt: skip

    async def passage(self, request: Request) -> Response:
        """A passage of the corpus."""
        given = {"id": request.path_params["id"]} | asked.of_address(request.scope["query_string"])
        values = asked.checked(asked.ENDPOINTS["passage"].parameters, given, written=True)
        service = self._service()
        stored = await service.ask("passage", values)
        at = stored.article.index(stored.id)
        others = await self._stored(stored.article[max(0, at - A_PAGE // 2) :][:A_PAGE])
        return self._page("passage", stored=stored, others=others, last=service.live.model.num_passages - 1)

    async def corpus(self, request: Request) -> Response:
        """Passages in the order of the store."""
        model = self._service().live.model
        wanted = asked.Parameter("The first passage of the page.", 0, int, 0, model.num_passages - 1)
        given = asked.checked({"id": wanted}, asked.of_address(request.scope["query_string"]), written=True)
        rows = range(given["id"], min(given["id"] + A_PAGE, model.num_passages))
        return self._page("corpus", passages=await self._stored(rows), rows=rows, page=A_PAGE, count=model.num_passages)

    async def static(self, request: Request) -> Response:
        name = request.url.path[1:]
        return Response(_static(name), media_type=STATIC[name], headers={"cache-control": "max-age=86400"})

    def problem(self, request: Request, message: str, status: int, headers: dict[str, str]) -> Response:
        """A page that tells a fault; the request stays in the form."""
        text, truth = (request.query_params.get(name, "")[: asked.LONGEST] for name in ("text", "truth"))
        if request.url.path in (f"/{name}" for name in STATIC):
            return Response(message, status, headers, "text/plain")
        response = self._page("ask", text=text, truth=truth, problem=message, status=status)
        response.status_code = status
        response.headers.update(headers)
        return response

    async def _stored(self, ids: Iterable[int]) -> list[Stored]:
        model = self._service().live.model
        return await asyncio.to_thread(lambda: [model.passage(id, 0) for id in ids])

    async def _retrieved(self, text: str, stage: str) -> Retrieved | str:
        """The passages that a stage retrieves, or why it does not."""
        service = self._service()
        kind = Work("retrieve", stage, count=service.live.depth(DEPTH))
        if not service.is_ready(kind):
            return "It is still being loaded. Ask again in a moment."
        try:
            return await service.ask("retrieve", {"text": text, "stage": stage, "k": DEPTH})
        except UserError:
            return "This run has no such stage."

    async def _said(self, text: str, truth: str, stage: str) -> Filling | None:
        """The words that a stage fills in, if it can be asked."""
        service, endpoint = self._service(), "explain" if truth else "fill"
        if not service.is_ready(Work(endpoint, stage, masked=True)):
            return None
        try:
            found = await service.ask(endpoint, {"text": text, "truth": truth, "stage": stage})
        except UserError:
            return None
        filled: Filling = found.found if truth else found
        return filled

    async def _unknown_below(self) -> float | None:
        """The least probability of an answer that is known; None where `evaluate` has chosen none."""
        try:
            return await self._service().unknown_below()
        except UserError:
            return None

    def _scale(self, masked: bool) -> float:
        config = self._service().live.model.config
        return (config.pretrain if masked else config.finetune).score_scale

    def _page(self, template: str, **values: Any) -> Response:
        service = self._service()
        values = {"problem": "", "found": None, "text": "", "truth": "", "examples": [], "status": 200} | values
        name = service.live.model.config.name
        html = _environment().get_template(f"{template}.html.j2").render(
            name=name, origin=service.origin, versions=_versions(), **values
        )  # fmt: skip
        return Response(html.encode("utf-8", "backslashreplace"), media_type="text/html; charset=utf-8")


async def _together(*asked: Awaitable[Any]) -> list[Any]:
    """The parts that all give; where one raises, the others are given up."""
    tasks = [asyncio.ensure_future(one) for one in asked]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _column(stage: str, found: Retrieved | str, wanted: str, said: Filling | None) -> Column:
    if isinstance(found, str):
        return Column(TITLES[stage], [], None, None, found)
    held = [(passage, _around(passage.text, wanted)) for passage in found.passages]
    first = next((rank for rank, (_, around) in enumerate(held, 1) if around), None)
    return Column(TITLES[stage], held[:SHOWN], first, said, "")


def _around(text: str, wanted: str) -> tuple[str, str, str] | None:
    """The text before, in and after the first place where it says `wanted`; None where it does not."""
    place = text.lower().find(wanted.lower()) if wanted else -1
    if place < 0 or len(text.lower()) != len(text):
        return None
    return text[:place], text[place : place + len(wanted)], text[place + len(wanted) :]


def _probability(p: float, digits: int = 3) -> str:
    """Small ones in powers of ten."""
    return f"{p:.{digits}f}" if p >= 10**-digits or p == 0 else f"{p:.0e}".replace("e-0", "e-").replace("-", "−")


@functools.cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("realm_jax.serving", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"parts": parts, "around": _around}
    environment.filters |= {"p": _probability, "signed": lambda x, digits=3: f"{x:+.{digits}f}".replace("-", "−")}
    return environment


@functools.cache
def _static(name: str) -> str:
    own = _environment().get_template(f"{name}.j2").render()
    if name != "pages.css":
        return own
    return (files("realm_jax.reports") / "style.css.j2").read_text(encoding="utf-8") + own


@functools.cache
def _versions() -> dict[str, str]:
    """By which a browser that has kept a file of before learns that there is another."""
    return {name: hashlib.sha256(_static(name).encode()).hexdigest()[:8] for name in STATIC}
