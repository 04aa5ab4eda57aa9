"""The metrics file is a function of the run, whatever kills it on the way."""

import io
import json
import math
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realm_jax.training.metrics import ERASE_LINE, MetricsWriter, duration, read_metrics
from realm_jax.workdir import Workdir

STEPS = 40


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """Each reading is `tick` seconds after the last."""

    def __init__(self, tick=0.5):
        self.now, self.tick = 100.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


@pytest.fixture
def stage(tmp_path):
    return Workdir(tmp_path).stage("pretrain")


def writer(stage, *, log_every=4, resume_at=0, stream=None, clock=None, tensorboard=False):
    stream, clock = stream or io.StringIO(), clock or Clock()
    return MetricsWriter(
        stage, "pretrain", STEPS, log_every, resume_at=resume_at, stream=stream, clock=clock, tensorboard=tensorboard
    )


def run(stage, start, stop, checkpoint_every=10):
    """Trains from the checkpoint `start` (None: there is none) to `stop`, as the loop does; gives the newest one."""
    saved = start
    with writer(stage, resume_at=start or 0) as metrics:
        for step in range(start or 0, stop + 1):
            if step > (start or 0):
                metrics.write(step, {"loss/total": 1 / step})
            if step % checkpoint_every == 0 and step != start:
                metrics.write(step, {"probe/span_recall@5": step / 100})
                saved = step
    return saved


def without_time(path):
    return [{k: v for k, v in line.items() if not k.startswith("time")} for line in read_metrics(path)]


@given(stops=st.lists(st.integers(0, STEPS), max_size=4), torn=st.booleans())
def test_killed_runs_leave_the_lines_of_an_undisturbed_one(tmp_path_factory, stops, torn):
    root = tmp_path_factory.mktemp("run")
    calm, killed = Workdir(root / "calm").stage("ict"), Workdir(root / "killed").stage("ict")
    run(calm, None, STEPS)
    saved = None
    for stop in stops:
        saved = run(killed, saved, max(stop, saved or 0))
        if torn:
            with open(killed.metrics, "a") as file:
                file.write('{"step": 9999, "loss/to')
    run(killed, saved, STEPS)
    assert without_time(killed.metrics) == without_time(calm.metrics)
    times = [line["time"] for line in read_metrics(killed.metrics)]
    assert times == sorted(times)


def test_without_a_checkpoint_the_old_run_is_forgotten(stage):
    run(stage, None, 20)
    with writer(stage) as metrics:
        metrics.write(1, {"a/b": 1})
    assert [line["step"] for line in read_metrics(stage.metrics)] == [0, 1]


def test_time_goes_on_where_the_dead_run_stopped(stage):
    stage.root.mkdir(parents=True)
    stage.metrics.write_text('{"step": 3, "time": 50.0, "loss/total": 1.0}\n{"step": 9, "time": 90.0}\n')
    with writer(stage, resume_at=5) as metrics:
        metrics.write(6, {})
    old, new = read_metrics(stage.metrics)
    assert old["step"] == 3 and new["step"] == 6
    assert 50 < new["time"] < 55


@pytest.mark.parametrize("value, stored", [(3, 3), (np.float32(0.5), 0.5), (np.array(7), 7.0), (True, 1)])
def test_numbers_of_all_kinds(stage, value, stored):
    with writer(stage) as metrics:
        metrics.write(1, {"a/b": value})
    assert read_metrics(stage.metrics)[0]["a/b"] == stored


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null_and_the_line_stays_json(stage, value):
    with writer(stage) as metrics:
        metrics.write(1, {"loss/total": value})
    assert json.loads(stage.metrics.read_text())["loss/total"] is None


def test_a_line_is_on_disk_once_write_returns(stage):
    metrics = writer(stage)
    metrics.write(1, {"a/b": 2})
    assert len(stage.metrics.read_text().splitlines()) == 1
    metrics.close()
    metrics.close()  # twice does no harm


def test_rate_and_time_left_leave_compilation_out(stage):
    stream, clock = io.StringIO(), Clock(0.0)
    with writer(stage, stream=stream, clock=clock, log_every=10) as metrics:
        for step in range(1, 31):  # a minute of compilation, then 2 steps a second
            clock.now += 60.0 if step == 1 else 0.5
            metrics.write(step, {"loss/total": 2.314, "retrieval/p_null": 0.12})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3 and lines[-1] == "pretrain  30/40  2 step/s  left 0:05  loss 2.31  p(null) 0.12"
    rates = [line.get("time/steps_per_s") for line in read_metrics(stage.metrics)]
    assert rates == [None] + 29 * [2.0]


def test_rate_is_that_of_the_last_steps(stage):
    clock = Clock(0.0)
    with writer(stage, clock=clock) as metrics:
        for step in range(1, 101):
            clock.now += 1.0 if step < 60 else 0.25
            metrics.write(step, {})
    assert read_metrics(stage.metrics)[-1]["time/steps_per_s"] == 4.0


def test_a_second_line_of_a_step_is_no_step(stage):
    stream = io.StringIO()
    with writer(stage, stream=stream) as metrics:
        metrics.write(0, {"probe/span_recall@5": 0.25})
        for step in range(1, 9):
            metrics.write(step, {"loss/total": 1.0})
            metrics.write(step, {"probe/span_recall@5": 0.5})
    shown = stream.getvalue().splitlines()
    assert [line.split()[1] for line in shown] == ["0/40", "4/40", "8/40"] and shown[0].endswith("recall 0.25")
    assert all("time/steps_per_s" not in m for m in read_metrics(stage.metrics) if "probe/span_recall@5" in m)


def test_the_last_step_is_shown_too(stage):
    stream = io.StringIO()
    with writer(stage, stream=stream, log_every=7) as metrics:
        for step in range(1, STEPS + 1):
            metrics.write(step, {})
    assert stream.getvalue().splitlines()[-1].startswith("pretrain  40/40")


def test_a_terminal_shows_one_line_overwritten(stage, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    with writer(stage, stream=stream, log_every=1) as metrics:
        metrics.write(1, {"loss/total": 1.0, "retrieval/utility": 0.5, "retrieval/p_null": 0.25})
        metrics.say("a snapshot")
        metrics.write(2, {"loss/total": 0.9})
    text = stream.getvalue()
    assert f"{ERASE_LINE}a snapshot\n{ERASE_LINE}pretrain" in text and text.endswith("\n") and text.count("\n") == 2
    assert all(len(line) < 30 for line in re.split(r"\r\x1b\[K|\n", text))


def test_elsewhere_every_line_is_plain(stage):
    stream = io.StringIO()
    with writer(stage, stream=stream, log_every=1) as metrics:
        metrics.write(1, {"loss/total": 1.0})
        metrics.say("a snapshot")
        metrics.write(2, {"retrieval/utility": 0.5})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3 and "\x1b" not in stream.getvalue()
    assert lines[2].endswith("loss 1.00  utility 0.50")  # the last known loss stays in sight


def test_tensorboard_gets_the_same_numbers(stage):
    pytest.importorskip("tensorboardX")
    with writer(stage, tensorboard=True) as metrics:
        metrics.write(1, {"loss/total": 1.5})
    (events,) = stage.tensorboard.iterdir()
    assert b"loss/total" in events.read_bytes()


def test_without_tensorboard_the_lines_remain(stage, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    stream = io.StringIO()
    with writer(stage, tensorboard=True, stream=stream) as metrics:
        metrics.write(1, {"loss/total": 1.5})
    assert "JSON lines only" in stream.getvalue() and len(read_metrics(stage.metrics)) == 1


def test_no_file_has_no_lines(stage):
    assert read_metrics(stage.metrics) == []


@pytest.mark.parametrize("seconds, text", [(0.0, "0:00"), (67.2, "1:07"), (59.6, "1:00"), (7389.0, "2:03:09")])
def test_duration(seconds, text):
    assert duration(seconds) == text
