"""How one machine is divided: by `run` between the trainer and the builder beside it, by `sweep` between runs."""

import dataclasses
import math
import os
import subprocess
import sys

from realm_jax.config import Config, Mesh
from realm_jax.errors import UserError
from realm_jax.stages import of_run
from realm_jax.workdir import Workdir

MEMORY_SHARE = ".45"
"""Of a GPU that two jobs share; each would else take three quarters of it when it starts."""
BUILDER_SHARE = 5
"""The builder gets one of so many devices, as in the paper: 16 beside 64."""
LONGEST_START_S = 300
VISIBLE = "CUDA_VISIBLE_DEVICES"


def check_batches(config: Config, workdir: Workdir) -> None:
    """Sees, before the first stage of a run on one machine, whether those to be done have a batch for their devices.

    Raises:
      UserError: a mesh does not fit the devices, or a batch does not divide over them.
    """
    from realm_jax.training.mesh import check_batch, sizes_of

    platform, count = ("cpu", 1) if _is_one_cpu() else _devices()
    for stage in of_run(config):
        if (settings := getattr(config, stage)).steps and not workdir.stage(stage).done.exists():
            here = count
            if stage == "pretrain" and platform == "gpu" and count > 1 and must_share(config):
                here = len(divide(config, platform, count)["pretrain"][VISIBLE].split(","))
            data, fsdp, _ = sizes_of(config.mesh, here, platform)
            check_batch(data, fsdp, settings, stage)


def must_share(config: Config) -> bool:
    """Whether a builder beside the trainer takes accelerators from it."""
    on_cpu = "cpu" in (config.mesh.platform, config.index.mesh.platform, os.environ.get("JAX_PLATFORMS"))
    return config.index.refresh == "beside" and not on_cpu


def shares(config: Config) -> dict[str, dict[str, str]]:
    """Environment variables of `pretrain` and `build_index`, while they run at the same time.

    Raises:
      UserError: the devices cannot be shared, or JAX does not start.
    """
    if must_share(config):
        return divide(config, *_devices())
    return {"build_index": {"JAX_PLATFORMS": "cpu"}} if config.index.mesh.platform == "cpu" else {}


def divide(config: Config, platform: str, count: int) -> dict[str, dict[str, str]]:
    """`shares` of so many devices of a platform, as JAX names it."""
    if platform == "cpu":
        return {}
    if platform != "gpu":
        raise UserError(
            f"index.refresh: a {platform} serves one process, so pretrain and build_index cannot share it; use "
            "`--index.refresh inline`, or `--index.mesh.platform cpu`, or start build_index on another machine"
        )
    if count == 1:
        share = {"XLA_PYTHON_CLIENT_MEM_FRACTION": os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION", MEMORY_SHARE)}
        return {"pretrain": share, "build_index": share}
    trainers, builders = _asked(config.mesh), _asked(config.index.mesh)
    builders = builders or (count - trainers if trainers else max(1, count // BUILDER_SHARE))
    trainers = trainers or count - builders
    if min(trainers, builders) < 1 or trainers + builders > count:
        raise UserError(
            f"mesh, index.mesh: {count} {platform} devices cannot be {trainers} for pretrain and {builders} for "
            "build_index; make the two products of sizes smaller"
        )
    names = _visible(count)
    return {
        "pretrain": {VISIBLE: ",".join(names[:trainers])},
        "build_index": {VISIBLE: ",".join(names[trainers : trainers + builders])},
    }


@dataclasses.dataclass(frozen=True)
class Share:
    """The share of this machine that one of several runs has."""

    cores: frozenset[int] = frozenset()
    """CPU cores; none named is all."""
    env: dict[str, str] = dataclasses.field(default_factory=dict)


def parts(jobs: int) -> list[Share]:
    """The CPU cores and GPUs of this machine, divided between so many runs at a time; where there are fewer cores than
    runs, all have all cores.

    Raises:
      UserError: there are fewer accelerators than runs.
    """
    if jobs == 1:
        return [Share()]
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) < jobs:
        cores = []
    platform, count = ("cpu", 1) if _is_one_cpu() else _devices()
    if platform not in ("cpu", "gpu"):
        raise UserError(f"--jobs: {jobs}, but a {platform} serves one process, so one run at a time; it must be 1")
    names = _visible(count) if platform == "gpu" else []
    if platform == "gpu" and count < jobs:
        raise UserError(f"--jobs: {jobs} runs at a time, but {count} GPUs are here; it must be at most {count}")
    return [
        Share(frozenset(_part(cores, i, jobs)), {VISIBLE: ",".join(_part(names, i, jobs))} if names else {})
        for i in range(jobs)
    ]


def _part(things: list, i: int, n: int) -> list:
    return things[i * len(things) // n : (i + 1) * len(things) // n]


def _visible(count: int) -> list[str]:
    """The names of the GPUs that are ours."""
    return os.environ.get(VISIBLE, ",".join(map(str, range(count)))).split(",")


def _asked(mesh: Mesh) -> int | None:
    """Devices that a mesh needs; None if it takes all there is."""
    sizes = (mesh.data, mesh.fsdp, mesh.tensor)
    return None if -1 in sizes else math.prod(sizes)


def _is_one_cpu() -> bool:
    """Whether nobody needs to be asked: the CPU is chosen, and not divided into virtual devices."""
    divided = "host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or "JAX_NUM_CPU_DEVICES" in os.environ
    return os.environ.get("JAX_PLATFORMS") == "cpu" and not divided


def _devices() -> tuple[str, int]:
    """The devices that JAX finds here, asked in a process of its own, which gives them back."""
    code = "import jax; print(jax.default_backend(), jax.local_device_count())"
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    try:
        asked = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=LONGEST_START_S
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"mesh.platform: JAX did not start within {LONGEST_START_S} s; is another process at work on its device?"
        ) from None
    if asked.returncode:
        raise UserError(f"mesh.platform: JAX finds no device to run on: {asked.stderr.strip().splitlines()[-1]}")
    platform, count = asked.stdout.split()[-2:]
    return platform, int(count)
