"""`realm serve` as a process: its address, its end, and what it refuses before it starts."""

import importlib.util
import signal
import socket
from contextlib import closing
from urllib.request import urlopen

import pytest

from realm_jax.errors import UserError
from realm_jax.jobs import serve
from realm_jax.jobs.serve import Arguments
from realm_jax.serving import server
from realm_jax.workdir import Workdir
from tests.serving.client import started


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_finish_what_is_in_flight(experiment, number, code):
    body = b'{"text": "What is the capital of Jura?"}'
    head = f"POST /api/answer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with started(experiment.workdir.root) as (process, port):
        assert urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60).status == 200
        with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as client:
            client.sendall(head + body[:5])
            # Once a second connection is answered, the first one's head has been read.
            assert urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60).status == 200
            process.send_signal(number)
            client.sendall(body[5:])
            answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
        assert answer.startswith(b"HTTP/1.1 200") and b'"question": "What is the capital of Jura?"' in answer
        said = process.stderr.read()
        assert process.wait(60) == code and "stopped by" in said and "Traceback" not in said


def test_an_address_that_is_taken_is_told_before_anything_is_loaded(experiment):
    with closing(server.bound("127.0.0.1", 0)) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: cannot be used .* name another, or port 0"):
            server.serve(lambda: pytest.fail("loaded"), "127.0.0.1", port, server.Limits())
    with pytest.raises(UserError, match="no name or address of this machine"):
        server.bound("no.such.host.invalid", 0)


def test_another_host_is_warned_of(monkeypatch, capsys, model):
    monkeypatch.setattr(server._Server, "run", lambda self, sockets: None)
    monkeypatch.setattr(server.Live, "start", lambda self: None)
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        server.serve(lambda: model, host, 0, server.Limits())
        assert ("lets other machines ask" in capsys.readouterr().err) == warned


def test_a_missing_extra_is_named(world, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    with pytest.raises(UserError, match=r"serve needs uvicorn; run `pip install 'realm_jax\[serve\]'`"):
        serve.check(world.config, Workdir(tmp_path), Arguments())


def test_a_run_without_results_is_told_of(world, tmp_path):
    experiment = world.experiment(tmp_path)
    with pytest.raises(UserError):
        server.Live(server.Model(experiment)).start()
