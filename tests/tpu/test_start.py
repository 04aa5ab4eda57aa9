"""The very start script of a slice, as two local workers with virtual devices, to the end of a shrunk experiment."""

import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from realm_jax.workdir import read_json
from tests import world
from tests.test_own_documents import TINY
from tests.tpu.cloud import Cloud
from tests.waiting import until
from tpu import source

pytestmark = pytest.mark.timeout(900)  # a machine may be busy
ROOT = Path(__file__).parents[2]
WORKERS = 2
LITTLE = """--pretrain.steps 2 --pretrain.checkpoint_every 1 --pretrain.batch_size 4 --pretrain.candidates 3
 --index.swap_after 1 --finetune.batch_size 4 --evaluation.heldout_queries 4"""


@pytest.fixture
def documents(tmp_path) -> list[str]:
    """The options of `experiments/own_documents.py`, for something small."""
    world.write_documents(tmp_path)
    folder, file, vocab = (tmp_path / name for name in ("documents", "questions.jsonl", "vocab.txt"))
    options = [*shlex.split(TINY), "--model.vocab", str(vocab), "--model.bert.vocab_size", str(len(world.VOCAB))]
    options += ["--data.path", str(folder), "--data.processes", "1"]
    options += [word for split in ("train", "dev", "test") for word in (f"--questions.{split}", str(file))]
    options += shlex.split(LITTLE)
    return ["run", "experiments/own_documents.py", "--index.refresh", "inline", "--mesh.platform", "cpu", *options]


@pytest.fixture
def cloud(tmp_path):
    cloud = Cloud(tmp_path / "cloud")
    yield cloud
    cloud.end_processes()


def port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


@pytest.fixture
def alone(cloud, tmp_path):
    """Runs start.sh on a worker that knows nothing of itself but what `curl` says, which fails at first."""
    cloud.executable("curl", "#!/bin/sh\ntest -e $HOME/number || { echo 'curl: (22) 503' >&2; exit 22; }\necho 0\n")

    def start(seconds: int, delete: str, workers: int = 2) -> Path:
        home = cloud.root / "homes" / "mine-trainer" / "0"
        (home / "realm/mine-trainer/source").mkdir(parents=True)
        settings = {
            "JOB": "mine-trainer",
            "WORKDIR": "gs://mine-b/mine",
            "ARGUMENTS": "run",
            "COORDINATOR": "localhost:1",
            "PROCESSES": str(workers),
            "DEADLINE": str(int(time.time()) + seconds),
            "DELETE": delete,
            "REALM_PYTHON": str(cloud.root / "bin/python"),
            "RETRY_S": "0.1",
            "FAKE_CLOUD": str(cloud.root),
            "FAKE_NODE": "mine-trainer",
            "PATH": f"{cloud.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(home),
        }
        environment = {name: value for name, value in os.environ.items() if name != "TPU_WORKER_ID"} | settings
        subprocess.run(["bash", str(ROOT / "tpu/start.sh"), "start"], env=environment, check=True)
        return home

    return start


def test_a_worker_that_cannot_learn_its_number_tries_again(cloud, alone, tmp_path):
    home = alone(600, f"touch {tmp_path / 'deleted'}")
    log = home / "realm/mine-trainer/log"
    until(lambda: log.exists() and "cannot learn its number" in log.read_text())
    cloud.finish(0)
    (home / "number").touch()
    until((tmp_path / "deleted").exists)
    assert "--process_count 2 --process_id 0" in (home / "ran").read_text() and "curl: (22) 503" in log.read_text()


def test_a_worker_that_never_learns_its_number_deletes_the_slice_at_the_end(cloud, alone, tmp_path):
    """And tries that until it succeeds."""
    tries = tmp_path / "tries"
    home = alone(1, f"echo x >>{tries}; test $(wc -l <{tries}) = 3")
    until(lambda: tries.exists() and len(tries.read_text()) == 6)
    assert not (home / "ran").exists()
    (end,) = cloud.object("mine/launch").glob("mine-trainer-*.ended")
    assert end.read_text() == "1\n"


def test_the_only_worker_needs_no_number(cloud, alone, tmp_path):
    cloud.finish(0)
    home = alone(600, f"touch {tmp_path / 'deleted'}", workers=1)
    until((tmp_path / "deleted").exists)
    assert (home / "ran").read_text() == "-m realm_jax run --workdir gs://mine-b/mine\n"


def test_two_workers_to_the_end_of_the_experiment(cloud, documents, project, tmp_path, monkeypatch):
    archive, workdir = tmp_path / "source.tar.gz", tmp_path / "run"
    monkeypatch.setattr(source, "ROOT", project)
    source.pack(archive)
    settings = {
        "JOB": "mine-trainer",
        "SOURCE": str(archive),
        "WORKDIR": str(workdir),
        "ARGUMENTS": shlex.join(documents),
        "COORDINATOR": f"localhost:{port()}",
        "PROCESSES": str(WORKERS),
        "DEADLINE": str(int(time.time() + 800)),
        "DELETE": f"echo deleted >>{tmp_path / 'deleted'}",
        "REALM_PYTHON": sys.executable,
        "FAKE_CLOUD": str(cloud.root),
        "FAKE_NODE": "mine-trainer",
        "PATH": f"{cloud.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    homes = [cloud.root / "homes" / "mine-trainer" / str(i) for i in range(WORKERS)]
    for word in ("setup", "start"):
        for i, home in enumerate(homes):
            home.mkdir(parents=True, exist_ok=True)
            worker = environment | settings | {"HOME": str(home), "TPU_WORKER_ID": str(i)}
            subprocess.run(["bash", str(ROOT / "tpu/start.sh"), word], env=worker, check=True)
    ends = [home / "realm/mine-trainer/exit" for home in homes]
    logs = [home / "realm/mine-trainer/log" for home in homes]
    while not all(end.exists() and end.read_text() for end in ends):
        time.sleep(0.2)
        said = "\n".join(log.read_text() for log in logs)
        assert "Traceback" not in said and "exit code 2\n" not in said, said
    assert [end.read_text().strip() for end in ends] == ["0", "0"], said
    for stage in ("pretrain", "finetune"):
        assert read_json(workdir / stage / "done.json")["last_step"] >= 1
    assert (workdir / "report/index.html").exists()
    assert read_json(workdir / "config.json")["config"]["index"]["refresh"] == "inline"
    first, second = (log.read_text() for log in logs)
    assert "run: pretrain done" in first and "run: pretrain done" in second  # both computed
    assert "run: report done" in first and "waiting for report" in second  # one of them alone
    deleted = tmp_path / "deleted"
    until(lambda: deleted.exists() and deleted.read_text())  # by worker 0, once
    assert deleted.read_text() == "deleted\n"
