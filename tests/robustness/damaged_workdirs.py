"""A finished run of a tiny model, and each of its files damaged in every way that a disk or a hand can."""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.robustness.driver import Case

SEED = 21
DEEP = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
LONG = b'{"step": ' + b"9" * 5000 + b"}"


def _flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _truncate(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def _folder(path: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _values(text: bytes) -> Callable[[Path, random.Random], None]:
    return lambda path, draw: path.write_bytes(text)


def _one_value(path: Path, draw: random.Random) -> None:
    """Of an object in JSON: another kind of value under one of its names."""
    value = json.loads(path.read_bytes())
    value[draw.choice(sorted(value))] = draw.choice([None, [], {}, -1, "odd", True, 1e300])
    path.write_text(json.dumps(value))


def _value_within(path: Path, draw: random.Random) -> None:
    """The same at any depth."""
    whole = value = json.loads(path.read_bytes())
    while True:
        key = draw.choice(sorted(value) if isinstance(value, dict) else range(len(value)))
        if not (isinstance(value[key], dict | list) and value[key] and draw.random() < 0.8):
            break
        value = value[key]
    value[key] = draw.choice([None, [], {}, -1, "odd", True, 1e300, [[]], {"a": []}])
    path.write_text(json.dumps(whole))


def _one_name(path: Path, draw: random.Random) -> None:
    value = json.loads(path.read_bytes())
    del value[draw.choice(sorted(value))]
    path.write_text(json.dumps(value))


ANY = {
    "flipped": _flip,
    "flipped again": _flip,
    "truncated": _truncate,
    "empty": _values(b""),
    "zeros": lambda path, draw: path.write_bytes(bytes(path.stat().st_size)),
    "junk": lambda path, draw: path.write_bytes(draw.randbytes(500)),
    "gone": lambda path, draw: path.unlink(),
    "a folder": _folder,
}
OF_JSON = {
    "null": _values(b"null"),
    "list": _values(b"[]"),
    "object": _values(b"{}"),
    "text": _values(b'"text"'),
    "deep": _values(DEEP),
    "long number": _values(LONG),
    "another value": _one_value,
    "another value again": _one_value,
    "another value within": _value_within,
    "another value within again": _value_within,
    "a name less": _one_name,
    "no UTF-8": _values(b'{"a": "\xe9"}'),
}
REPORT = ("evaluation/", "run.json", "metrics.jsonl", "pretrain/metrics", "manifest.json")


def finished(folder: Path) -> Path:
    """A workdir with the results of all stages."""
    from realm_jax.training.open_run import OpenRun
    from realm_jax.workdir import Workdir, write_json
    from tests import world
    from tests.answering.finished import finish

    made, workdir = world.make(folder / "world"), Workdir(folder / "template")
    shutil.copytree(made.data.root, workdir.root / "data")
    evaluation = {"read": 4, "batch_size": 6}
    finish(OpenRun(made.settings(evaluation=evaluation, data={"directory": ""}), workdir))
    write_json(workdir.results, {"qa/exact_match": 0.5, "retrieval/recall@5": 0.7})
    write_json(workdir.usage, {"stages": {"prepare": 1.0}, "date": "2026-11-30", "machine": "a machine"})
    workdir.stage("pretrain").metrics.write_text('{"step": 1, "time": 1.0, "loss/total": 2.0}\n' * 3)
    return workdir.root


def names(template: Path) -> list[str]:
    """Files of the workdir that jobs have made, but locks and caches."""
    found = (str(path.relative_to(template)) for path in sorted(template.rglob("*")) if path.is_file())
    return [name for name in found if not ("/." in f"/{name}" or name.startswith("jax_cache"))]


def jobs_of(name: str) -> list[str]:
    """Jobs that may read a file of the workdir."""
    jobs = ["report"] if any(part in name for part in REPORT) else []
    jobs += [] if name.startswith(("evaluation/", "run.json")) or "metrics" in name else ["ask"]
    return jobs + (["build_index"] if name.startswith("pretrain/") else [])


def cases(template: Path, seed: int = SEED) -> Iterator[Case]:
    draw = random.Random(seed)
    for name in names(template):
        harms = ANY | (OF_JSON if name.endswith(".json") else {})
        for job in jobs_of(name):
            for how, harm in harms.items():
                yield Case("damaged workdirs", f"{job}: {name}: {how}", _argv(job, name, harm, draw.random()), template)


def _argv(job: str, name: str, harm: Callable, seed: float) -> Callable[[Path], list[str]]:
    def lay(place: Path) -> list[str]:
        harm(place / name, random.Random(seed))
        return [job, str(place), *(["What is the capital of Boria?"] if job == "ask" else [])]

    return lay
