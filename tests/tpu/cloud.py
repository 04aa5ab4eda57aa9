"""A cloud of local folders behind a strict `gcloud` (`fake_gcloud.py`)."""

import json
import os
import sys
from pathlib import Path

import psutil

SMALL = "from realm_jax.config import *\n\ndef get_config():\n    return Config()\n"
START = ["experiments/small.py", "--name", "mine", "--zone", "us-west4-a", "--bucket", "gs://mine-b"]
JOB = """#!/usr/bin/env bash
# Stands for Python with the project: runs until the file `finish` of the test says with which code to end.
echo "$@" >>"$HOME/ran"
trap 'exit 143' TERM
until [ -e "$FAKE_CLOUD/finish" ]; do sleep 0.05; done
exit "$(cat "$FAKE_CLOUD/finish")"
"""


class Cloud:
    """What a test sees of it, and does to it."""

    def __init__(self, root: Path):
        self.root = root
        for folder in ("nodes", "queue", "buckets/mine-b", "homes", "bin"):
            (root / folder).mkdir(parents=True)
        self.write("refusals.json", [])
        self.write("types.json", ["v5litepod-8", "v5litepod-16", "v4-16"])
        self.write("queue_states.json", ["WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"])
        (root / "account").write_text("me@example.org")
        (root / "project").write_text("p")
        (root / "buckets/mine-b/.location").write_text("US-WEST4")
        fake = Path(__file__).with_name("fake_gcloud.py")
        self.executable("gcloud", f'#!/bin/sh\nexec {sys.executable} -S {fake} "$@"\n')
        self.executable("python", JOB)

    def executable(self, name: str, text: str) -> None:
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def write(self, name: str, value) -> None:
        self.put(name, json.dumps(value))

    def put(self, name: str, text: str) -> None:
        """Whole or not at all: jobs and watchers read it at any moment."""
        part = self.root / f".{Path(name).name}"
        part.write_text(text)
        part.replace(self.root / name)

    def refuse(self, *refusals: tuple[str, str]) -> None:
        self.write("refusals.json", refusals)

    def finish(self, code: int) -> None:
        self.put("finish", str(code))

    def commands(self, words: str = "") -> list[str]:
        path = self.root / "commands"
        lines = [" ".join(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if words in line]

    def nodes(self) -> set[str]:
        return {path.stem for folder in ("nodes", "queue") for path in (self.root / folder).glob("*.json")}

    def object(self, name: str) -> Path:
        return self.root / "buckets/mine-b" / name

    def ran(self, name: str, worker: int = 0) -> list[str]:
        """The command lines of the job on a worker."""
        path = self.root / "homes" / name / str(worker) / "ran"
        return path.read_text().splitlines() if path.exists() else []

    def preempt(self, name: str) -> None:
        node = json.loads((self.root / "nodes" / f"{name}.json").read_text())
        self.write(f"nodes/{name}.json", node | {"state": "PREEMPTED"})
        self.end_processes(name)

    def end_processes(self, name: str | None = None) -> None:
        found = True
        while found:  # one may start another while we look
            found = False
            for process in psutil.process_iter():
                try:
                    environment = process.environ()
                    if environment.get("FAKE_CLOUD") == str(self.root) and environment.get("FAKE_NODE") in (
                        {name} if name else set(os.listdir(self.root / "homes"))
                    ):
                        process.kill()
                        found = True
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    pass
