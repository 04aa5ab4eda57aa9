"""docs/extending.md, followed: its code is put into a copy of the package, which then knows one thing more."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from realm_jax.workdir import SweepDir
from tests import world

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```python\n# ([\w/.]+?)(?:, before `(\w+)`)?\n(.*?)```", re.DOTALL)
EXPERIMENT = """
from dataclasses import replace
from realm_jax.config import *

def get_sweep():
    sizes = {"hidden_size": 12, "num_layers": 1, "num_heads": 3, "intermediate_size": 20, "max_positions": 128}
    bert = Bert(vocab_size=VOCAB_SIZE, **sizes)
    base = Config(
        data=Data(source="folder", path="documents", passage_length=40, query_length=32, joint_length=56,
                  heldout_fraction=0.5),
        model=Model(weights="random", vocab="vocab.txt", bert=bert, vector_size=8),
        index=Index(kind="exact", refresh="inline", rows_per_batch=4),
        evaluation=Evaluation(bm25=False, batch_size=4),
    )
    by_heart = replace(base.memorize, steps=2, batch_size=2, log_every=1, enough=0.1)
    return Sweep({"base": base, "by_heart": replace(base, memorize=by_heart)}, (0,), "base")
"""
SEARCH = """
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

MASK = """
import sys
from pathlib import Path
import numpy as np
from realm_jax.config import Config, Data, Masking
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.masked_queries import MaskedQueries
from realm_jax.workdir import DataDir
from tests import world

config = Config(data=Data(query_length=32, passage_length=40, joint_length=56), masking=Masking(kind="ending"))
tokenizer = Tokenizer(world.VOCAB)
queries = MaskedQueries(config, DataDir(Path(sys.argv[1])), tokenizer, "train")
batch = next(iter(queries.batches(8, seed=0)))
last = (batch.query != 0).sum(1) - 2  # [SEP] stands behind it
hidden = np.take_along_axis(batch.query, batch.mask_positions, 1)[batch.mask_weights > 0]
assert len(hidden) >= 8 and (hidden == tokenizer.mask_id).all() and (batch.mask_positions.max(1) == last).all()
"""


def extend(folder: Path, section: str) -> set[str]:
    """Copies the package and puts a section's code into it, where the code says; returns the files that it is in."""
    package, leave = folder / "realm_jax", shutil.ignore_patterns("__pycache__")
    if not package.exists():
        shutil.copytree(ROOT / "realm_jax", package, ignore=leave)
    text = (ROOT / "docs" / "extending.md").read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = BLOCK.findall(text)
    for name, before, code in blocks:
        path = folder / name
        if not before:
            assert not path.exists()
            path.write_text(code)
            continue
        lines = path.read_text().splitlines()
        at = next(i for i, line in enumerate(lines) if re.match(rf'(class {before}\b| +{before}:| +"{before}":)', line))
        at -= lines[at - 1].startswith("@")
        path.write_text("\n".join([*lines[:at], *code.splitlines(), *lines[at:], ""]))
    return {name for name, _, _ in blocks}


@pytest.mark.timeout(600)  # about ten processes, which all start JAX
def test_a_training_task(tmp_path):
    """It is trained by a run of a sweep, which shares all else with the other one, and is in the reports of both."""
    assert len(extend(tmp_path, "A training task")) == 3
    (tmp_path / "documents").mkdir()
    for country, capital in zip(world.COUNTRIES, world.CAPITALS):
        text = f"# {country}\n\nThe capital of {country} is {capital}. The river is in the city of {capital}."
        (tmp_path / "documents" / f"{country}.md").write_text(text)
    world.write_vocab(tmp_path / "vocab.txt")
    (tmp_path / "small.py").write_text(EXPERIMENT.replace("VOCAB_SIZE", str(len(world.VOCAB))))

    def realm(*words: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "realm_jax", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        logs = "\n".join(path.read_text()[-2000:] for path in tmp_path.glob("runs/**/log.txt"))
        assert done.returncode == 0, f"{done.stderr}\n{logs}"
        return done.stdout

    assert "  memorize           Learn the corpus by heart" in realm("--help")
    assert "--memorize.enough" in realm("memorize", "--help", "memorize")
    realm("sweep", "small.py", "--sweep_dir", "runs/small", "--variants", "by_heart")
    base, by_heart = (SweepDir(tmp_path / "runs" / "small").run(name, 0).root for name in ("base", "by_heart"))
    assert (by_heart / "memorize" / "done.json").exists() and not (base / "memorize").exists()
    assert (by_heart / "pretrain").samefile(base / "pretrain")
    caption = "Negative log-likelihood of masked wordpieces, read without a passage."
    page = (by_heart / "report" / "index.html").read_text()
    assert caption in page and page.count("Learning by heart") > 1  # its figure and its time
    realm("report", "--sweep", "runs/small")
    with open(tmp_path / "runs" / "small" / "report" / "costs.csv", newline="") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert float(rows["by_heart"]["Learning by heart"]) > 0


def test_an_index_kind(tmp_path):
    """It is built, measured, published, loaded and searched, and a choice of the command line."""
    assert extend(tmp_path, "An index kind") == {"realm_jax/index/bytes.py", "realm_jax/kinds.py"}

    def run(*words: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        return subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = run("-c", SEARCH, str(tmp_path / "snapshots"))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["kind"] == "realm_jax.index.bytes"
    assert told["files"] == ["bytes/bytes.npy", "digests.npy", "vectors.npy"]
    # Bytes lose a little; the builder measures it, with other queries.
    assert 0.8 < told["recall"] < 1.0 and told["measured"] == pytest.approx(told["recall"], abs=0.15)
    assert told["scores"] == pytest.approx(told["best"], rel=0.1) and told["banned"] == 0
    refused = run("-m", "realm_jax", "build_index", str(ROOT / "experiments" / "factbook.py"), "--index.kind", "tree")
    assert refused.returncode == 2 and "'bytes'" in refused.stderr


def test_a_masking_kind(tmp_path, world):
    """It hides the ends of sentences in batches of pre-training, and is a choice of the command line."""
    assert extend(tmp_path, "A masking kind") == {"realm_jax/text/endings.py", "realm_jax/kinds.py"}

    def run(*words: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
        return subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    done = run("-c", MASK, str(world.data.root))
    assert done.returncode == 0, done.stderr
    refused = run("-m", "realm_jax", "pretrain", str(ROOT / "experiments" / "factbook.py"), "--masking.kind", "none")
    assert refused.returncode == 2 and "'ending'" in refused.stderr


def test_a_source_of_articles_and_a_question_format(tmp_path):
    """Chapters become passages, a quiz becomes questions; what is faulty is named with its place."""
    assert extend(tmp_path, "A source of articles") == {"realm_jax/corpus/chapters.py", "realm_jax/kinds.py"}
    assert extend(tmp_path, "A question format") == {"realm_jax/qa/quiz.py", "realm_jax/kinds.py"}
    world.write_vocab(tmp_path / "vocab.txt")
    (tmp_path / "atlas.book").write_text(
        "# Chad\nThe capital of Chad is Lima.\n# Mali\n\n# Peru\nA river is in Peru.\n"
    )
    (tmp_path / "asked.quiz").write_text("What is the capital of Chad? Lima\nWhat is the river\n")
    options = "--data.source chapters --data.path atlas.book --questions.train asked.quiz --questions.dev asked.quiz "
    options += "--questions.test asked.quiz --model.weights random --model.vocab vocab.txt --data.heldout_fraction 0.5"

    def prepare(*words: str) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-m", "realm_jax", "prepare", "own_documents", "--workdir", "run", *options.split()]
        return subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)

    def refusal(*words: str) -> str:
        refused = prepare(*words)
        assert refused.returncode == 2, refused
        return refused.stderr

    assert "asked.quiz:2: no answer behind a question mark; write `Question? Answer`" in refusal()
    faulty = refusal("--questions.skip_faulty")
    assert "atlas.book, chapter 2: has no text; write some below its title" in faulty
    done = prepare("--data.skip_faulty", "--questions.skip_faulty")
    assert done.returncode == 0, done.stderr
    assert "writing 2 passages" in done.stdout
