"""Repositories and a cloud of the tests' own: they may run where there is none, or within one of a hook's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tpu.cloud import SMALL, Cloud
from tpu import launch, slices, source, upkeep

ROOT = Path(__file__).parents[2]


@pytest.fixture
def git(monkeypatch):
    """Commits all of a folder; git then knows neither the user's settings nor a repository that the tests run in."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")

    def commit(tree: Path) -> None:
        git = ["git", "-C", str(tree), "-c", "user.name=me", "-c", "user.email=me@example.org"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
            subprocess.run([*git, *words], check=True)

    return commit


@pytest.fixture
def project(tmp_path, git) -> Path:
    """A clone of this project."""
    project = tmp_path / "project"
    for name in ("experiments", "realm_jax", "tpu"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    (project / ".gitignore").write_text("__pycache__/\n")
    git(project)
    return project


@pytest.fixture
def tree(tmp_path, git, monkeypatch) -> Path:
    """A committed work tree that is launched in place of this one."""
    tree = tmp_path / "tree"
    (tree / "experiments").mkdir(parents=True)
    (tree / "experiments/small.py").write_text(SMALL)
    (tree / "tpu").mkdir()
    shutil.copy(ROOT / "tpu/requirements.txt", tree / "tpu")
    git(tree)
    monkeypatch.setattr(source, "ROOT", tree)
    monkeypatch.chdir(tree)
    return tree


@pytest.fixture
def cloud(tree, tmp_path, monkeypatch):
    cloud = Cloud(tmp_path / "cloud")
    monkeypatch.setenv("FAKE_CLOUD", str(cloud.root))
    monkeypatch.setenv("PATH", f"{cloud.root / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("REALM_PYTHON", str(cloud.root / "bin/python"))
    monkeypatch.setenv("RETRY_S", "0.1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(slices, "POLL_S", 0.01)
    monkeypatch.setattr(upkeep, "WATCH_S", 0.05)
    yield cloud
    cloud.end_processes()


@pytest.fixture
def run(capsys):
    """Runs the launcher; gives what it printed and what it complained of."""

    def run(*words: str, code: int = 0) -> tuple[str, str]:
        assert launch.main(list(words)) == code, capsys.readouterr()
        return capsys.readouterr()

    return run
