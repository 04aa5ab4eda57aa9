"""A server in a thread, and a client of it."""

import asyncio
import contextlib
import http.client
import json
import threading
import time
from urllib.parse import urlencode

import uvicorn

from realm_jax.serving.app import Limits
from realm_jax.serving.live import Live
from realm_jax.serving.server import HERE, bound, configured

WAIT_S = 280.0


class Served:
    """Used with `with`; `live` is what it asks."""

    def __init__(self, model, **limits):
        self.live = Live(model)
        config = configured(self.live, Limits(**{"hosts": HERE} | limits))
        self._server, self._socket = uvicorn.Server(config), bound("127.0.0.1", 0)
        self.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server._serve([self._socket])), daemon=True)

    def __enter__(self):
        self._thread.start()
        until(lambda: self._server.started)
        return self

    def __exit__(self, *error):
        self._server.should_exit = True
        self._thread.join(WAIT_S)

    def wait_until_warm(self):
        until(lambda: self.live.warm)

    def request(self, path, body=None, method=None, headers=None):
        """(status, headers, body)."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)) as connection:
            connection.request(method or ("GET" if body is None else "POST"), path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def get(self, path, **parameters):
        """(status, JSON or text)."""
        status, headers, body = self.request(f"{path}?{urlencode(parameters)}" if parameters else path)
        return status, json.loads(body) if "json" in headers["content-type"] else body.decode()

    def post(self, path, **parameters):
        status, _, body = self.request(path, json.dumps(parameters).encode())
        return status, json.loads(body)


def until(happened, wait_s=WAIT_S):
    """Waits for something, not for ever."""
    end = time.monotonic() + wait_s
    while not happened():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {wait_s} seconds")
        time.sleep(0.02)
