"""A process that serves a run, from the socket to the last answer."""

import atexit
import os
import socket
import sys
from collections.abc import Callable

import uvicorn

from realm_jax.answering.model import Model
from realm_jax.errors import UserError
from realm_jax.runtime.signals import Terminated
from realm_jax.serving.app import Limits, make_app
from realm_jax.serving.live import Live

HERE = ("127.0.0.1", "localhost", "::1", "[::1]")
"""Names of this machine that no other can ask by."""


def serve(open_model: Callable[[], Model], host: str, port: int, limits: Limits) -> None:
    """Answers until SIGINT or SIGTERM, then finishes the requests in flight and raises as these signals do.

    Args:
      open_model: called when the address is known to be free.
      port: 0 takes one that is free.

    Raises:
      UserError: the address cannot be used, or the run has nothing to ask.
    """
    with bound(host, port) as bound_socket:
        if host not in HERE:
            print(
                f"serve: warning: --host {host} lets other machines ask. There is no password and no encryption; put a "
                "proxy in front that has both.",
                file=sys.stderr,
                flush=True,
            )
        live = Live(open_model())
        live.start()
        shown, used = f"[{host}]" if ":" in host else host, bound_socket.getsockname()[1]
        try:
            _Server(configured(live, limits), f"http://{shown}:{used}/").run([bound_socket])
        except KeyboardInterrupt as stopped:
            atexit.register(_end, live, 143 if isinstance(stopped, Terminated) else 130)
            raise


def _end(live: Live, code: int) -> None:
    """Ends the process at once where a thread compiles, which Python's own end would have aborted."""
    if live.is_busy():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def configured(live: Live, limits: Limits) -> uvicorn.Config:
    """How requests are read from sockets."""
    return uvicorn.Config(
        make_app(live, limits),
        log_config=None,  # uvicorn's own would close the handlers of absl, and with them the terminal's stream
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        http="h11",
        lifespan="on",
        timeout_graceful_shutdown=int(limits.seconds) + 1,
    )


class _Server(uvicorn.Server):
    """Says where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, address: str):
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(f"serve: {self._address} answers; Ctrl-C ends it", flush=True)


def bound(host: str, port: int) -> socket.socket:
    """A socket with an address that nobody else has.

    Raises:
      UserError: the host has no such address, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host: {host!r} is no name or address of this machine ({error})") from None
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
    except OSError as error:
        found.close()
        raise UserError(
            f"--host {host} --port {port}: cannot be used ({error.strerror}); name another, or port 0 for a free one"
        ) from None
    return found
