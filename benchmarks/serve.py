"""What a server of a run costs: its start, one question at a time, many clients, memory, and malformed requests.

    python benchmarks/serve.py runs/factbook

It starts `realm serve` on the workdir with an empty cache of compiled programs, and with the workdir's own. It asks the
run's test questions, and compares `model.answer` of all of them with the predictions of `evaluate`. The last lines name
the aims, for two idle cores and the Factbook, and whether this run reached them. A file has the same as JSON, written
anew after each part. No part takes longer than what is left of --minutes; the malformed requests come last and take
that.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from _common import machine

import realm_jax
from realm_jax.qa.predictions import read_predictions
from realm_jax.qa.questions import load_questions, prepared_set
from realm_jax.training import open_qa
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import write_json

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.serving.malformed import fault, malformed  # noqa: E402

CACHE = "JAX_COMPILATION_CACHE_DIR"
PROGRESS_S = 15.0
STOP_S = 40.0
"""That a server may take to end."""


class Limit:
    """The moment at which all must be done."""

    def __init__(self, minutes: float):
        self.start = time.perf_counter()
        self._end = self.start + 60 * minutes

    def left(self) -> float:
        """Seconds; at least one."""
        return max(1.0, self._end - STOP_S - time.perf_counter())

    def is_over(self) -> bool:
        return self.left() <= 1.0


class Record:
    """What was measured, printed and kept in a file at once."""

    def __init__(self, output: Path, limit: Limit, values: dict[str, Any]):
        self._output, self._limit, self._values = output, limit, values | {"figures": {}, "aims": {}}
        print(values["machine"], flush=True)

    def figure(self, name: str, value: Any, unit: str = "") -> None:
        shown = f"{value:.2f}" if isinstance(value, float) else value
        print(f"{time.perf_counter() - self._limit.start:6.0f} s  {name:<44} {shown} {unit}".rstrip(), flush=True)
        self._values["figures"][f"{name}, {unit}" if unit else name] = value

    def aim(self, text: str, reached: bool) -> None:
        self._values["aims"][text] = bool(reached)

    def part(self, measure: Callable[..., None], *given: Any) -> None:
        """Measures something; where that fails, says so, and lets the others go on."""
        try:
            measure(self, *given)
        except Exception:
            traceback.print_exc()
            self.aim(f"{measure.__name__} ends", False)
        write_json(self._output, self._values)

    def conclude(self) -> int:
        """Prints the aims; 1 where one was missed."""
        aims = self._values["aims"]
        print("\n".join(f"{'reached' if reached else 'MISSED '}  {text}" for text, reached in aims.items()))
        print(f"all of it is in {self._output}")
        return int(not all(aims.values()))


class Server:
    """`realm serve` as a process."""

    def __init__(self, workdir: str, limit: Limit, cache: str = ""):
        self._limit = limit
        self.start = time.perf_counter()
        environment = {name: value for name, value in os.environ.items() if name != CACHE}
        environment |= {CACHE: cache} if cache else {}  # else that of the workdir
        command = [sys.executable, "-m", "realm_jax", "serve", workdir, "--port", "0", "--seconds", "120"]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        late = threading.Timer(limit.left(), self.process.kill)
        late.start()
        said = self.process.stdout.readline() if self.process.stdout else ""
        late.cancel()
        found = re.search(r":(\d+)/ answers", said)
        if not found:
            self.stop()
            raise TimeoutError(f"the server did not start: {said}")
        self.port = int(found[1])

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=self._limit.left())
        ) as connection:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def ask(self, question: str) -> tuple[int, float]:
        """(status, seconds) of a question."""
        start = time.perf_counter()
        status, _, _ = self.request("GET", f"/api/answer?{urlencode({'text': question})}")
        return status, time.perf_counter() - start

    def wait_until_warm(self) -> float:
        """Seconds since the start when all programs are there."""
        while not json.loads(self.request("GET", "/healthz")[2])["warm"]:
            if self._limit.is_over():
                raise TimeoutError("not all programs are there in the time given")
            time.sleep(0.2)
        return time.perf_counter() - self.start

    def memory(self) -> float:
        """GiB."""
        found = re.search(rb"^process_resident_memory_bytes (\S+)", self.request("GET", "/metrics")[2], re.MULTILINE)
        return float(found[1]) / 2**30 if found else float("nan")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_S - 5)
        except subprocess.TimeoutExpired:
            self.process.kill()


@contextlib.contextmanager
def serving(workdir: str, limit: Limit, cache: str = "") -> Iterator[Server]:
    server = Server(workdir, limit, cache)
    try:
        yield server
    finally:
        server.stop()


def load(server: Server, questions: list[str], clients: int) -> tuple[float, list[float], int]:
    """(questions a second, seconds of each, failures) of a number of clients, each asking one after another."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(server.ask, questions))
    took = time.perf_counter() - start
    return len(questions) / took, [seconds for _, seconds in answers], sum(status != 200 for status, _ in answers)


def attack(server: Server, count: int, questions: list[str], limit: Limit) -> tuple[dict[int, int], list[str]]:
    """(answers by status, faults) of `count` requests, of which every second is malformed; fewer if time is up."""
    draw, lock, found, faults = random.Random(0), threading.Lock(), {}, []
    said = time.perf_counter()

    def one(number: int) -> None:
        nonlocal said
        with lock:
            if limit.is_over():
                return
            if time.perf_counter() - said > PROGRESS_S:
                said = time.perf_counter()
                print(f"          {number} of {count} requests", flush=True)
            if number % 2:
                method, path, body = malformed(draw)
            else:
                method, path, body = "GET", f"/api/retrieve?{urlencode({'text': draw.choice(questions)})}", None
        try:
            status, headers, answer = server.request(method, path, body)
        except TimeoutError:
            if limit.is_over():
                return
            raise
        wrong = fault(path, status, headers, answer)
        with lock:
            found[status] = found.get(status, 0) + 1
            faults.extend([f"{method} {path}: {wrong}"] if wrong else [])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))
    return dict(sorted(found.items())), faults


def seconds(run: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def compared(workdir: str, asked: int) -> tuple[bool, float, int]:
    """Whether `model.answer` gives the predictions of `evaluate`, its time as a multiple of that of the same calls as
    `evaluate` makes, and the number of questions."""
    model = realm_jax.load(workdir)
    run = OpenRun(model.config, model.workdir)
    questions = load_questions(prepared_set(model.config.questions, run.data), "test")
    texts = [question.question for question in questions][:asked]
    predictions = read_predictions(model.workdir.evaluation / "predictions_test.jsonl", questions)[:asked]
    learned, rows = model._stages["finetune"], run.questions("test").queries[:asked]

    def evaluated() -> list[str]:
        found = open_qa.answer(model.config, run.models, learned.params, learned.index, run.store, rows)
        return open_qa.texts_of(found, run.tokenizer, run.texts)

    model.answer(texts[:20])
    open_qa.answer(model.config, run.models, learned.params, learned.index, run.store, rows[:20])
    base, _ = seconds(evaluated)
    took, answers = seconds(lambda: [answer.text for answer in model.answer(texts)])
    return answers == list(predictions), took / base, len(texts)


def started(record: Record, server: Server, question: str, cache: str, limit_s: float) -> None:
    server.ask(question)
    took = time.perf_counter() - server.start
    record.figure(f"first answer, {cache} cache of programs", took, "s")
    record.aim(f"first answer within {limit_s:g} s, {cache} cache of programs", took <= limit_s)


def cold_start(record: Record, options: argparse.Namespace, limit: Limit, questions: list[str]) -> None:
    with tempfile.TemporaryDirectory() as cache, serving(options.workdir, limit, cache) as server:
        started(record, server, questions[0], "empty", 10.0)


def requests(record: Record, options: argparse.Namespace, limit: Limit, questions: list[str]) -> None:
    asked = [questions[i % len(questions)] for i in range(options.requests)]
    alone, together = asked[: options.requests // 4], asked[options.requests // 4 :]
    with serving(options.workdir, limit) as server:
        record.figure("all programs ready after", server.wait_until_warm(), "s")
        load(server, alone[:20], 1)
        before = server.memory()
        rate, times, failed = load(server, alone, 1)
        p50, p99 = np.percentile(times, [50, 99])
        record.figure(f"one at a time, {len(alone)} questions", rate, "a second")
        record.figure("one at a time, p50", float(1000 * p50), "ms")
        record.figure("one at a time, p99", float(1000 * p99), "ms")
        record.aim("p50 at most 60 ms and p99 at most 150 ms, one at a time", p50 <= 0.06 and p99 <= 0.15)
        many, times, more = load(server, together, options.clients)
        p99 = np.percentile(times, 99)
        record.figure(f"{options.clients} clients, {len(together)} questions", many, "a second")
        record.figure("as a multiple of one at a time", many / rate)
        record.figure(f"{options.clients} clients, p99", float(1000 * p99), "ms")
        record.aim("4 times the rate of one at a time, p99 at most 1.5 s", many >= 4 * rate and p99 <= 1.5)
        after = server.memory()
        record.figure("memory before", before, "GiB")
        record.figure("memory after", after, "GiB")
        record.figure(f"failures of {len(asked)} requests", failed + more)
        record.aim("no failure, memory flat within 5 %", failed + more == 0 and after <= 1.05 * before)


def answers(record: Record, options: argparse.Namespace) -> None:
    equal, ratio, count = compared(options.workdir, options.compared)
    record.figure(f"model.answer of {count} test questions", ratio, "of evaluate's time")
    record.figure("the same answers", equal)
    record.aim("the answers of evaluate, in 1.2 of its time", equal and ratio <= 1.2)


def warm_start(record: Record, options: argparse.Namespace, limit: Limit, questions: list[str]) -> None:
    with serving(options.workdir, limit) as server:
        started(record, server, questions[0], "filled", 3.0)
        found, faults = attack(server, options.malformed, questions, limit)
    done = sum(found.values())
    record.figure(f"of {options.malformed} requests, half malformed, made", done)
    record.figure("their statuses", {str(status): count for status, count in found.items()})
    record.figure("faults in their answers", faults)
    record.aim(
        f"{options.malformed} requests, half malformed: no 5xx but 503, nothing unescaped",
        not faults and done == options.malformed,
    )


def report(options: argparse.Namespace) -> int:
    limit = Limit(options.minutes)
    model = realm_jax.load(options.workdir)
    data = model.workdir.data(model.config.data.directory)
    questions = [question.question for question in load_questions(prepared_set(model.config.questions, data), "test")]
    record = Record(options.output, limit, {"machine": machine(), "workdir": options.workdir})
    for measure in (cold_start, requests):
        record.part(measure, options, limit, questions)
    record.part(answers, options)
    record.part(warm_start, options, limit, questions)
    return record.conclude()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", nargs="?", help="of a finished run with questions")
    parser.add_argument("--requests", type=int, default=1000, help="questions asked, a quarter of them one at a time")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--malformed", type=int, default=10_000)
    parser.add_argument("--compared", type=int, default=10**9, help="test questions for `model.answer`")
    parser.add_argument("--minutes", type=float, default=12.0, help="that all of it may take")
    parser.add_argument("--output", type=Path, default=Path("build/serve.json"), help="file of the figures")
    given = parser.parse_args()
    if given.workdir is None:
        print("name the workdir of a finished run, such as runs/factbook; nothing measured")
    else:
        sys.exit(report(given))
