"""The request of a start, and its faults that would show later, or cost more than they must."""

import argparse
import re
import shlex
import sys
from pathlib import Path

from realm_jax.errors import UserError
from tpu import record, source
from tpu.gcloud import Gcloud
from tpu.inputs import check_inputs
from tpu.record import Launch, check_bucket
from tpu.slices import Slice
from tpu.types import slice_type

GIB_COST = "each GB that leaves a region costs money, and every read waits for it"


def plan(arguments: argparse.Namespace) -> Launch:
    """The request of the options; touches nothing."""
    name, bucket = arguments.name, arguments.bucket.rstrip("/")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise UserError(f"--name {name}: must be lower-case letters, digits and hyphens, a letter first, 40 at most")
    check_bucket(arguments.bucket)
    if not re.fullmatch(r"[a-z]+-[a-z]+[0-9]+-[a-z0-9]+", arguments.zone):
        raise UserError(
            f"--zone {arguments.zone}: must be such as us-west4-a; `gcloud compute tpus locations list` names the zones"
        )
    check_hours(arguments.max_hours)
    if bool(arguments.type) == bool(arguments.on_existing):
        raise UserError("--type, --on-existing: give one of the two: a type to create, or a TPU that is there")
    if arguments.on_existing and not arguments.builder_type and (arguments.queued or arguments.spot):
        raise UserError("--queued, --spot: are of slices that are created, not of a TPU that is there; leave them out")
    given = ("--workdir", "--coordinator", "--process", "--builder")
    if taken := [option for option in arguments.rest if option.startswith(given)]:
        raise UserError(f"-- {taken[0]}: the launcher sets it; leave it out")
    commit, config = source.commit(arguments.allow_dirty), source.within(Path(arguments.config))
    check_inputs(config, arguments.rest, bool(arguments.on_existing) and not arguments.builder_type)
    settings = {"zone": arguments.zone, "spot": arguments.spot, "queued": arguments.queued}
    trainer, builder = f"{name}-trainer", f"{name}-builder"
    if arguments.on_existing:
        slices = [Slice(arguments.on_existing, trainer, "", arguments.zone, ours=False)]
    else:
        slices = [Slice(trainer, trainer, slice_type(arguments.type).name, **settings)]
    if arguments.builder_type:
        slices.append(Slice(builder, builder, slice_type(arguments.builder_type).name, **settings))
    return Launch(name, f"{bucket}/{name}", commit, config, arguments.rest, arguments.max_hours, 0, slices)


def check_hours(hours: float) -> None:
    if not 0 < hours <= 24 * 90:
        raise UserError(f"--max-hours {hours:g}: must be above 0, and at most {24 * 90} (90 days)")


def check(launch: Launch, gcloud: Gcloud) -> None:
    """Faults that would show later, or cost more than they must.

    Raises:
      UserError: with the command to run next.
    """
    if not gcloud("auth", "list", "--filter=status:ACTIVE", "--format=value(account)").strip():
        raise UserError("gcloud: not logged in; run `gcloud auth login`")
    if gcloud("config", "get", "project").strip() in ("", "(unset)"):
        raise UserError("gcloud: no project is set; run `gcloud config set project PROJECT`")
    if (here := record.path_of(launch.name)).exists():
        before = record.read(here.read_text(encoding="utf-8"), str(here))
        raise UserError(
            f"--name {launch.name}: was launched before ({before.workdir}); "
            f"`python -m tpu.launch resume {launch.name}` goes on with it, `delete` ends it, or choose another --name"
        )
    zone, region = launch.slices[0].zone, launch.slices[0].zone.rpartition("-")[0]
    there = [found["type"] for found in gcloud.json("compute", "tpus", "accelerator-types", "list", f"--zone={zone}")]
    bucket = "/".join(launch.workdir.split("/")[:3])
    found = gcloud.find("storage", "buckets", "describe", bucket)
    if found is None:
        raise UserError(
            f"--bucket {bucket}: there is none; run `gcloud storage buckets create {bucket} --location={region}`"
        )
    location = found["location"].lower()
    if location != region:
        print(
            f"warning: --bucket {bucket}: is in {location}, but --zone {zone} in {region}: {GIB_COST}. A bucket beside "
            f"the TPU: `gcloud storage buckets create gs://NEW --location={region}`",
            file=sys.stderr,
        )
    for one in launch.slices:
        state = one.state(gcloud)
        if one.ours and state:
            raise UserError(
                f"--name {launch.name}: there is a TPU {one.name} in {zone} already ({state}); choose another --name, "
                f"use it with --on-existing {one.name}, or run `gcloud {shlex.join(one.delete_command())}`"
            )
        if not one.ours and state != "READY":
            raise UserError(
                f"--on-existing {one.name}: {f'is {state}' if state else f'there is none in {zone}'}; run "
                f"`gcloud compute tpus tpu-vm list --zone={zone}`"
            )
        if one.ours and one.type not in there:
            raise UserError(
                f"--type {one.type}: zone {zone} has none; it has {', '.join(sorted(set(there))) or 'no TPU at all'}. "
                "`gcloud compute tpus locations list` names the zones"
            )
