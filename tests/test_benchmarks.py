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


def test_gpu(tmp_path):
    said = run("gpu.py", "--tiny", "--output", str(tmp_path / "gpu.txt"))
    assert (tmp_path / "gpu.txt").read_text() == said
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
    rows = [line for line in said.splitlines() if line.lstrip().startswith("2,500")]
    indexes = ["exact", "ScaNN", "ScaNN, SOAR 1.5", "FAISS flat", "FAISS HNSW", "FAISS IVF-PQ"]
    assert [line[12:28].strip() for line in rows] == [name for name in indexes for _ in range(2)]
    assert [line.split()[-7] for line in rows] == ["1", "2"] * len(indexes)
    assert all(re.fullmatch(r"[\d,]+", rate) for line in rows for rate in line.split()[-4:])
    assert (tmp_path / "mips.txt").read_text() == said and "a test" in said
    assert "<svg" in (tmp_path / "mips.svg").read_text()


def test_compare(tmp_path):
    """Only ratios count: those of speeds fall when smaller, those of times when larger."""
    old = BENCHMARKS.parent / "docs" / "results" / "bench-cpu-epyc.txt"
    compare = [sys.executable, BENCHMARKS / "compare.py", old]
    same = subprocess.run([*compare, old], capture_output=True, text=True)
    assert same.returncode == 0 and len(same.stdout.splitlines()) == 6 and "FELL" not in same.stdout
    for row, worse, better in (("pre-training step", "1.30", "1.10"), ("ScaNN: 6 queries", "5.00", "6.50")):
        for ratio, code in ((worse, 1), (better, 0)):
            new = tmp_path / "new.txt"
            new.write_text(re.sub(rf"(?m)^({row}.*?)[\d.]+$", rf"\g<1>{ratio}", old.read_text()))
            done = subprocess.run([*compare, new], capture_output=True, text=True)
            fell = [line for line in done.stdout.splitlines() if "FELL" in line]
            assert done.returncode == code and [line.startswith(row) for line in fell] == [True] * code
    done = subprocess.run([*compare, __file__], capture_output=True, text=True)
    assert done.returncode == 2 and "no row" in done.stderr
