"""A server in a thread, with a client of it, and one as a process."""

import asyncio
import contextlib
import functools
import http.client
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlencode

import uvicorn

from realm_jax.serving.app import Limits
from realm_jax.serving.live import Live
from realm_jax.serving.server import HERE, bound, configured
from tests import waiting

WAIT_S = 280.0
until = functools.partial(waiting.until, seconds=WAIT_S)


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


@contextlib.contextmanager
def started(root, *options):
    """(process, port) of `realm serve` as a process, once it is ready."""
    command = [sys.executable, "-m", "realm_jax", "serve", str(root), "--port", "0", *options]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        late = threading.Timer(WAIT_S, process.kill)
        late.start()
        try:
            said = process.stdout.readline()
            found = re.fullmatch(r"serve: http://127\.0\.0\.1:(\d+)/ answers; Ctrl-C ends it\n", said)
            assert found, (said, process.kill(), process.stderr.read())
            yield process, int(found[1])
        finally:
            process.kill()
            late.cancel()
