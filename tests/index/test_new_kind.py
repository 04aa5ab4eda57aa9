"""A new kind of index is one file and one row: those of docs/extending.md, in a copy of the package."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from realm_jax.config import Config, Index
from realm_jax.index.candidates import search_candidates
from realm_jax.index.embed_passages import build_snapshot
from realm_jax.index.exact import ExactIndex, recall_against_exact
from realm_jax.index.snapshots import load

folder, settings = Path(sys.argv[1]), Config(index=Index(kind="bytes")).index
draw = np.random.default_rng(0)
tokens, table = draw.integers(103, 3000, (2001, 12), np.uint16), draw.standard_normal((3000, 8), np.float32)
embed = lambda rows: table[rows].mean(axis=1)
manifest = build_snapshot(5, embed, tokens, "f00d", settings, folder)
snapshot = load(folder, 5, "f00d")
index, exact = snapshot.index(settings), ExactIndex(snapshot.vectors[:-1])
queries = tokens[:20].astype(np.int32)
scores, rows = index.retrieve(embed, queries, 6)
banned = np.arange(20)[:, None]
print(json.dumps({
    "kind": type(index).__module__, "files": sorted(manifest.files), "measured": manifest.recall,
    "best": exact.retrieve(embed, queries, 6)[0][:, 0].tolist(),
    "scores": scores[:, 0].tolist(), "recall": recall_against_exact(index, snapshot.vectors[:-1], embed(queries), 6),
    "banned": int((search_candidates(index, index.encode(embed, queries), banned, 4, 2000) == banned).sum()),
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package with what the page's two blocks of code add."""
    page = (REPOSITORY / "docs" / "extending.md").read_text()
    section = page.split("## An index kind\n")[1].split("\n## ")[0]
    file, row = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    folder = tmp_path_factory.mktemp("copy")
    package = shutil.copytree(
        REPOSITORY / "realm_jax", folder / "realm_jax", ignore=shutil.ignore_patterns("__pycache__")
    )
    (package / re.search(r"`realm_jax/(index/\w+\.py)`", section)[1]).write_text(file)
    before, kinds, after = (package / "kinds.py").read_text().partition("INDEXES = {\n")
    (package / "kinds.py").write_text(before + kinds + row + after)
    return folder


def run(copy, *words):
    return subprocess.run(
        [sys.executable, *words], cwd=copy, env={"PYTHONPATH": str(copy)}, capture_output=True, text=True
    )


def test_a_new_kind_is_built_measured_published_loaded_and_searched(copy, tmp_path):
    done = run(copy, "-c", PROGRAM, str(tmp_path))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kind"] == "realm_jax.index.bytes"
    assert told["files"] == ["bytes/bytes.npy", "digests.npy", "vectors.npy"]
    # Bytes lose a little: what is lost is measured when it is built, by other queries.
    assert 0.8 < told["recall"] < 1.0 and told["measured"] == pytest.approx(told["recall"], abs=0.15)
    assert told["scores"] == pytest.approx(told["best"], rel=0.1)
    assert told["banned"] == 0


def test_a_new_kind_is_a_choice_of_the_command_line(copy):
    said = run(copy, "-m", "realm_jax", "build_index", str(REPOSITORY / "experiments" / "factbook.py"),
               "--index.kind", "tree", "--workdir", str(copy / "never"))  # fmt: skip
    assert said.returncode == 2 and "'bytes'" in said.stderr + said.stdout and not (copy / "never").exists()
