"""The server as an ASGI application: addresses, limits, and the headers of safety of every answer."""

import asyncio
import contextlib
import dataclasses
import json
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realm_jax.errors import UserError
from realm_jax.serving import asked
from realm_jax.serving.batcher import Batcher, Busy
from realm_jax.serving.live import Live
from realm_jax.serving.measured import CONTENT_TYPE, Measured
from realm_jax.serving.openapi import description
from realm_jax.serving.pages import Pages
from realm_jax.serving.service import Service

BODY = 64 << 10
"""Bytes of a body that are read."""
DRAINED = 16 << 20
"""Bytes of a longer one that are taken and dropped, so that its sender hears why."""
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of one server."""

    waiting: int = 128
    """Requests that may wait."""
    seconds: float = 30.0
    """That a request may take."""
    hosts: tuple[str, ...] = ()
    """Names that requests may have for this machine; all, where there is none."""


class Guard:
    """Around the application: measures, limits the body and the host's name, adds the headers of safety."""

    def __init__(self, app: ASGIApp, measured: Measured, limits: Limits):
        self._app, self._measured, self._limits = app, measured, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.monotonic()
        status: int | None = None

        async def answer(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                there = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there),
                ]
            await send(message)

        try:
            refused, body = await self._body(scope, receive)
            if refused is not None:
                await refused(scope, receive, answer)
            else:
                await self._app(scope, _given(body, receive), answer)
        except Exception:
            traceback.print_exc()
            if status is None:
                await _problem("the server failed; its log says why", 500)(scope, receive, answer)
        finally:
            path = f"/{scope['path'][1:].partition('/')[0]}" if scope["path"].startswith("/passage/") else scope["path"]
            known = status not in (None, 404, 405)
            self._measured.request(path if known else "other", status or 500, time.monotonic() - start)

    async def _body(self, scope: Scope, receive: Receive) -> tuple[Response | None, bytes]:
        """The whole body, or why it is not read."""
        hosts = self._limits.hosts
        named = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if hosts and named.rpartition(":")[0].lower() not in hosts and named.lower() not in hosts:
            return _problem("the address names another host; `--names` allows it", 400), b""
        body, length = bytearray(), 0
        try:
            async with asyncio.timeout(self._limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return _problem("the body ended early", 400), b""
                    part = message.get("body", b"")
                    length += len(part)
                    if length <= BODY:
                        body += part
                    if not message.get("more_body", False) or length > DRAINED:
                        break
        except TimeoutError:
            return _problem(f"the body did not come within {self._limits.seconds:g} seconds", 408), b""
        if length > BODY:
            return _problem(f"the body has more than {BODY >> 10} KiB", 413), b""
        return None, bytes(body)


def _given(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read before, then all that comes after it."""
    left = [body]

    async def next_message() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return next_message


def make_app(live: Live, limits: Limits) -> Starlette:
    """The application; it asks `live` while it runs."""
    measured = Measured()
    service: Service | None = None

    @contextlib.asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[None]:
        nonlocal service
        batcher = Batcher(live.compute, live.sizes, limits.waiting, limits.seconds, measured.batch)
        service = Service(live, batcher)
        measured.watch(service)
        answers = asyncio.create_task(batcher.run())
        live.begin(batcher.pace)
        try:
            yield
        finally:
            live.stop()
            answers.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answers
            batcher.stop()

    def there() -> Service:
        if service is None:
            raise RuntimeError("the application has not been started")
        return service

    async def api(request: Request) -> Response:
        endpoint = asked.ENDPOINTS[request.path_params["endpoint"]]
        given = asked.of_body(await request.body()) if request.method == "POST" else _query(request)
        values = asked.checked(endpoint.parameters, given, written=request.method != "POST")
        return Json(there().plain(await there().ask(request.path_params["endpoint"], values)))

    async def health(request: Request) -> Response:
        waiting, passages = len(there().batcher), live.model.num_passages
        return Json({"status": "ok", "warm": live.warm, "waiting": waiting, "passages": passages})

    async def metrics(request: Request) -> Response:
        return Response(measured.text(), media_type=CONTENT_TYPE)

    async def openapi(request: Request) -> Response:
        return Json(description())

    pages = Pages(there)

    async def failed(request: Request, error: Exception) -> Response:
        status, message, headers = _told(error, there())
        if request.url.path.startswith("/api/"):
            return _problem(message, status, headers)
        return pages.problem(request, message, status, headers)

    routes = [Route(f"/api/{name}", _named(api, name), methods=["GET", "POST"]) for name in asked.ENDPOINTS]
    routes += [Route("/healthz", health), Route("/metrics", metrics), Route("/openapi.json", openapi), *pages.routes()]
    handlers: Any = {error: failed for error in (UserError, Busy, HTTPException)}
    middleware = [Middleware(Guard, measured=measured, limits=limits)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=running)


def _named(api: Callable[[Request], Awaitable[Response]], name: str) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        request.path_params["endpoint"] = name
        return await api(request)

    return endpoint


def _query(request: Request) -> dict[str, Any]:
    return asked.of_address(request.scope["query_string"])


def _told(error: Exception, service: Service) -> tuple[int, str, dict[str, str]]:
    """Status, message and headers."""
    match error:
        case UserError():
            return 400, service.without_paths(str(error)), {}
        case Busy():
            return 503, str(error), {"retry-after": str(error.retry_after_s)}
        case HTTPException(status_code=404):
            return 404, "there is no such page", {}
        case HTTPException():
            return error.status_code, error.detail.lower(), dict(error.headers or {})
    raise error


class Json(JSONResponse):
    """In UTF-8, as it is read by people too."""

    media_type = "application/json; charset=utf-8"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace") + b"\n"


def _problem(message: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return Json({"error": message}, status, headers)
