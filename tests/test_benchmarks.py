"""The benchmarks that need a large machine run here in small sizes, as a user starts them."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(name, *options):
    # Tests compile much and compute little.
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    command = [sys.executable, BENCHMARKS / name, *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_gpu():
    said = run("gpu.py", "--tiny")
    assert "these figures mean nothing" in said
    for figure in (
        r"bfloat16 product +[\d.]+ TFLOP/s",
        r"copy on the device.* \d+ GB/s",
        r"3,000 passages: vectors .*bfloat16",
        r"their tokens .*uint16, P 24",
        r"search, 8 queries, 8 best +[\d.]+ ms +[\d.]+ of its floor",
        r"gather, 8 x 8 rows of tokens +[\d.]+ ms",
        r"embedding, 8 rows at once +[\d,]+ passages/s +utilisation [\d.]+%",
        r"pre-training step, B=8 K=8 +[\d.]+ ms +utilisation [\d.]+%",
        r"search and gather, of the step +[\d.]+%",
    ):
        assert re.search(figure, said), (figure, said)


def test_gpu_says_that_there_is_none(monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    runpy.run_path(str(BENCHMARKS / "gpu.py"), run_name="__main__")
    assert "no accelerator here, nothing measured" in capsys.readouterr().out


def test_mips(tmp_path):
    pytest.importorskip("faiss", reason="of the extra `bench`")
    said = run("mips.py", "--sizes", "2500", "--queries", "64", "--output", str(tmp_path / "mips"), "--note", "a test")
    rows = {line[12:32].strip(): line.split() for line in said.splitlines() if line.lstrip().startswith("2,500")}
    assert list(rows) == ["exact, float32", "ScaNN", "FAISS flat", "FAISS HNSW, ef 64", "FAISS HNSW, ef 256"]
    recall = {name: float(row[-3]) for name, row in rows.items()}
    assert recall["exact, float32"] == 1.0 == recall["FAISS flat"] and min(recall.values()) > 0.5
    assert (tmp_path / "mips.txt").read_text() == said and "a test" in said
    assert "<svg" in (tmp_path / "mips.svg").read_text()
