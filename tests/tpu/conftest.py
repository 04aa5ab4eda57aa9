"""Repositories of the tests' own: they may run where there is none, or within one of a hook's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

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
