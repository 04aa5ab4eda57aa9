"""A `gcloud` for tests: a small cloud in a folder, $FAKE_CLOUD, strict about every flag it is given.

Flags are those of the Google Cloud CLI 528.0.0 (its static table of completions,
google-cloud-sdk/data/cli/gcloud_completions.py), the same as in its reference, read in November 2026:

    https://cloud.google.com/sdk/gcloud/reference/compute/tpus/tpu-vm/{create,ssh,describe,delete,list}
    https://cloud.google.com/sdk/gcloud/reference/compute/tpus/queued-resources/{create,describe,delete}
    https://cloud.google.com/sdk/gcloud/reference/compute/tpus/accelerator-types/list
    https://cloud.google.com/sdk/gcloud/reference/storage/{cp,cat,buckets/describe}

States of slices and of queued resources are those of https://cloud.google.com/tpu/docs/queued-resources and of
https://cloud.google.com/tpu/docs/reference/rest/v2/projects.locations.nodes#State. Errors read as the real ones do.

In the folder: commands (one JSON list a line), nodes/NAME.json, queue/NAME.json, buckets/B/..., homes/NAME/I (the home
of worker I), refusals.json ([words of a command, what it says]), queue_states.json, types.json, account, project.

Tests start it hundreds of times: what takes long to import it imports where it needs it, and it takes no package (-S).
"""

import json
import os
import signal
import sys
from pathlib import Path

CLOUD = Path(os.environ["FAKE_CLOUD"])
GLOBAL = {"--format", "--quiet", "--project", "--account", "--verbosity"}
CREATE = (
    "--accelerator-type --async --data-disk --description --internal-ips --labels --metadata --metadata-from-file "
    "--network --range --reserved --scopes --service-account --shielded-secure-boot --spot --subnetwork --tags "
    "--topology --type --zone "
)
FLAGS = {
    "compute tpus tpu-vm create": CREATE + "--preemptible --queue-count --version",
    "compute tpus tpu-vm ssh": "--command --dry-run --force-key-file-overwrite --internal-ip --output-directory "
    "--plain --ssh-flag --ssh-key-expiration --ssh-key-expire-after --ssh-key-file --strict-host-key-checking "
    "--worker --zone",
    "compute tpus tpu-vm describe": "--zone",
    "compute tpus tpu-vm delete": "--async --zone",
    "compute tpus tpu-vm list": "--filter --limit --page-size --sort-by --uri --zone",
    "compute tpus queued-resources create": CREATE + "--guaranteed --node-count --node-id --node-prefix "
    "--reservation-host-folder --reservation-host-organization --reservation-host-project --runtime-version "
    "--valid-after-duration --valid-after-time --valid-until-duration --valid-until-time",
    "compute tpus queued-resources describe": "--zone",
    "compute tpus queued-resources delete": "--async --force --zone",
    "compute tpus accelerator-types list": "--filter --limit --page-size --sort-by --zone",
    "compute tpus locations list": "--filter --limit --page-size --sort-by",
    "storage buckets describe": "--additional-headers --raw",
    "storage buckets create": "--location --default-storage-class --uniform-bucket-level-access",
    "storage cp": "--recursive --no-clobber --continue-on-error",
    "storage cat": "--range --display-url",
    "storage rm": "--recursive --all-versions",
    "auth list": "--filter --filter-account --limit --page-size --sort-by",
    "config get": "",
}
SWITCHES = {"--quiet", "--async", "--spot", "--reserved", "--internal-ips", "--preemptible", "--force", "--recursive"}
REQUIRED = {
    "compute tpus tpu-vm create": {"--zone", "--version"},
    "compute tpus queued-resources create": {"--zone", "--runtime-version", "--accelerator-type", "--node-id"},
    **{f"compute tpus tpu-vm {verb}": {"--zone"} for verb in ("ssh", "describe", "delete")},
    **{f"compute tpus queued-resources {verb}": {"--zone"} for verb in ("describe", "delete")},
}
RUNTIMES = {"tpu-ubuntu2204-base", "v2-alpha-tpuv5-lite", "v2-alpha-tpuv5", "v2-alpha-tpuv6e"}
WORKERS = {"v5litepod-8": 1, "v5litepod-16": 4, "v6e-8": 1, "v4-16": 2}


def fail(message: str, code: int = 1):
    print(f"ERROR: {message}", file=sys.stderr)
    sys.exit(code)


def parse(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    command = max((name for name in FLAGS if words[: len(name.split())] == name.split()), key=len, default=None)
    if command is None:
        fail(f"(gcloud) Invalid choice: '{' '.join(words)}'", 2)
    places, flags = [], {}
    for word in words[len(command.split()) :]:
        if not word.startswith("--"):
            places.append(word)
            continue
        name, given, value = word.partition("=")
        if name not in {*FLAGS[command].split(), *GLOBAL}:
            fail(f"(gcloud.{command.replace(' ', '.')}) unrecognized arguments: {word}", 2)
        if (name in SWITCHES) == bool(given):
            fail(f"(gcloud.{command.replace(' ', '.')}) argument {name}: expected {'none' if given else 'one'}", 2)
        flags[name] = value
    if missing := REQUIRED.get(command, set()) - set(flags):
        fail(f"(gcloud.{command.replace(' ', '.')}) argument {min(missing)}: Must be specified.", 2)
    return command, places, flags


def read(folder: str, name: str) -> dict | None:
    path = CLOUD / folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def write(folder: str, name: str, value: dict) -> None:
    (CLOUD / folder).mkdir(exist_ok=True)
    put(CLOUD / folder / f"{name}.json", json.dumps(value).encode())


def put(path: Path, data: bytes) -> None:
    """Whole or not at all: others read it at any moment."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)


def make_node(name: str, flags: dict[str, str], runtime: str) -> None:
    if runtime not in RUNTIMES:
        fail(f"INVALID_ARGUMENT: runtime version {runtime!r} not found")
    count = WORKERS[flags["--accelerator-type"]]
    endpoints = [{"ipAddress": "127.0.0.1", "port": 8470} for _ in range(count)]
    write("nodes", name, {"state": "READY", "networkEndpoints": endpoints, "zone": flags["--zone"]})
    for i in range(count):
        (CLOUD / "homes" / name / str(i)).mkdir(parents=True)


def end_node(name: str) -> None:
    """The machines stop, and their disks are gone."""
    import shutil

    here = {f"FAKE_NODE={name}".encode(), b"FAKE_CLOUD=" + os.environb[b"FAKE_CLOUD"]}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # Another user's cannot be read, one that has ended is gone.
            if here <= {*(process / "environ").read_bytes().split(b"\0")} and int(process.name) != os.getpid():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            pass
    shutil.rmtree(CLOUD / "homes" / name, ignore_errors=True)


def object_path(url: str) -> Path:
    return CLOUD / "buckets" / url.removeprefix("gs://") if url.startswith("gs://") else Path(url)


def main(words: list[str]) -> None:
    with open(CLOUD / "commands", "a") as file:
        file.write(json.dumps(words) + "\n")
    command, places, flags = parse(words)
    for refused, said in json.loads((CLOUD / "refusals.json").read_text()):
        if refused in " ".join(words):
            fail(said)
    name, short = places[0] if places else "", command.removeprefix("compute tpus ")
    missing = f"(gcloud) NOT_FOUND: Resource 'projects/p/locations/z/nodes/{name}' was not found"
    if short == "tpu-vm create":
        if read("nodes", name):
            fail(f"ALREADY_EXISTS: Resource 'projects/p/locations/z/nodes/{name}' already exists")
        make_node(name, flags, flags["--version"])
    elif short == "queued-resources create":
        if read("queue", name):
            fail(f"ALREADY_EXISTS: Resource 'projects/p/locations/z/queuedResources/{name}' already exists")
        write("queue", name, {"flags": flags, "states": json.loads((CLOUD / "queue_states.json").read_text())})
    elif short == "tpu-vm describe":
        found = read("nodes", name) or fail(missing)
        print(json.dumps(found))
    elif short == "queued-resources describe":
        found = read("queue", name) or fail(missing)
        state = found["states"].pop(0) if len(found["states"]) > 1 else found["states"][0]
        write("queue", name, found)
        if state == "ACTIVE":
            make_node(found["flags"]["--node-id"], found["flags"], found["flags"]["--runtime-version"])
        print(json.dumps({"name": name, "state": {"state": state}}))
    elif short in ("tpu-vm delete", "queued-resources delete"):
        place = "queue" if "queued" in short else "nodes"
        if not read(place, name):
            fail(missing)
        for folder in ("queue", "nodes"):
            (CLOUD / folder / f"{name}.json").unlink(missing_ok=True)
        end_node(name)
    elif short == "tpu-vm ssh":
        import subprocess

        node = read("nodes", name) or fail(missing)
        if node["state"] != "READY":
            fail(f"(gcloud.compute.tpus.tpu-vm.ssh) TPU {name} is in state {node['state']}")
        count, worker = len(node["networkEndpoints"]), flags.get("--worker", "0")
        codes = []
        for i in range(count) if worker == "all" else [int(worker)]:
            home = str(CLOUD / "homes" / name / str(i))
            environment = {**os.environ, "HOME": home, "TPU_WORKER_ID": str(i), "FAKE_NODE": name}
            codes.append(subprocess.run(["bash", "-c", flags["--command"]], env=environment, cwd=home).returncode)
            if codes[-1]:
                print(f"##### Command execution on worker {i} failed with exit status {codes[-1]}.", file=sys.stderr)
        sys.exit(max(codes))
    elif short == "accelerator-types list":
        print(json.dumps([{"type": kind} for kind in json.loads((CLOUD / "types.json").read_text())]))
    elif short == "storage buckets describe":
        bucket = CLOUD / "buckets" / name.removeprefix("gs://")
        if not bucket.is_dir():
            fail(f"(gcloud.storage.buckets.describe) {name} not found: 404.")
        print(json.dumps({"name": bucket.name, "location": (bucket / ".location").read_text()}))
    elif short == "storage cp":
        origin, target = map(object_path, places)
        if not origin.is_file():
            fail(f"(gcloud.storage.cp) The following URLs matched no objects or files:\n-{name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        put(target, origin.read_bytes())
    elif short == "storage cat":
        if not object_path(name).is_file():
            fail(f"(gcloud.storage.cat) The following URLs matched no objects or files:\n-{name}")
        print(object_path(name).read_text(), end="")
    elif short in ("auth list", "config get"):
        print((CLOUD / ("account" if short == "auth list" else "project")).read_text())
    else:
        fail(f"{command}: not in the fake")


if __name__ == "__main__":
    main(sys.argv[1:])
