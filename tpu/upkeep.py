"""Slices with a job on them: brought up, and made again when they are taken away, until the job ends."""

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Iterator, Sequence

from realm_jax.errors import UserError
from tpu import record
from tpu.gcloud import Gcloud, Refused
from tpu.record import Launch
from tpu.slices import LOST, Slice

WATCH_S = 60.0
GIVE_UP_S = 3600.0
"""Of nothing but failures of gcloud."""


def bring_up(launch: Launch, gcloud: Gcloud, missing: Sequence[Slice]) -> None:
    """Creates the missing slices, starts the job everywhere, tells the cost and how you end it.

    If anything fails before the job runs: slices that were created here are deleted, or named.
    """
    with _undone_on_failure(gcloud) as made:
        for one in missing:
            print(f"{one.name}: creating {one.type} in {one.zone}" + (" (spot)" if one.spot else ""), flush=True)
            _create(one, gcloud, launch.max_hours, made)
        for one in missing:
            one.wait(gcloud, launch.max_hours, say)
        launch = dataclasses.replace(launch, deadline=int(time.time() + launch.max_hours * 3600))
        record.keep(launch, gcloud)
        for one in launch.slices:
            one.start(gcloud, launch.folder, launch.variables(one), say)
    ours = " and ".join(one.name for one in launch.slices if one.ours)
    print(
        f"{launch.name}: started; workdir {launch.workdir}\n"
        + (f"  {ours}: deleted when the job is done, and in any case at {launch.until()}\n" if ours else "")
        + f"  python -m tpu.launch status {launch.name}    # in two minutes: does the job run?\n"
        f"  python -m tpu.launch logs {launch.name} --follow\n"
        f"  python -m tpu.launch stop {launch.name}      # the job; the slices go on costing\n"
        f"  python -m tpu.launch delete {launch.name}    # the slices; the workdir stays",
        flush=True,
    )
    if any(one.spot for one in launch.slices) and not gcloud.dry_run:
        print(
            f"{launch.name}: watching; Ctrl-C leaves it running, `python -m tpu.launch watch {launch.name}` comes back"
        )
        look_after(launch, gcloud)


@contextlib.contextmanager
def _undone_on_failure(gcloud: Gcloud) -> Iterator[list[Slice]]:
    """Gives a list: slices that are added to it are deleted, or named, if the work meanwhile fails."""
    made: list[Slice] = []
    try:
        yield made
    except BaseException:
        for one in made:
            try:
                one.delete(gcloud)
                said = "deleted again"
            except (UserError, KeyboardInterrupt):
                said = f"COULD NOT BE DELETED and may cost; run `gcloud {shlex.join(one.delete_command())}`"
            with contextlib.suppress(OSError):  # the terminal may be gone
                print(f"{one.name}: {said}", file=sys.stderr, flush=True)
        raise


def _create(one: Slice, gcloud: Gcloud, hours: float, made: list[Slice]) -> None:
    made.append(one)  # at once: Google may have it when Ctrl-C comes
    try:
        one.create(gcloud, hours)
    except Refused as error:
        if error.is_taken:  # by somebody else's, such as another watcher's
            made.remove(one)
        raise


def look_after(launch: Launch, gcloud: Gcloud) -> None:
    """Until every job has ended, or the time is up; slices of ours whose job is done are deleted. After a `resume`,
    perhaps on another machine, all this begins anew.

    Raises:
      UserError: gcloud has done nothing but fail for `GIVE_UP_S`.
    """
    going, failed = list(launch.slices), set()
    answered = time.monotonic()
    while going:
        for one in list(going):
            try:
                if (found := record.current(launch, gcloud)).deadline != launch.deadline:
                    launch, going, failed = found, list(found.slices), set()
                    say(f"{launch.name}: was resumed, and ends at {launch.until()}")
                    break
                if _is_over(launch, one, failed, gcloud):
                    going.remove(one)
                answered = time.monotonic()
            except Refused as error:
                if time.monotonic() - answered > GIVE_UP_S:
                    raise UserError(
                        f"{launch.name}: gcloud has done nothing but fail for {GIVE_UP_S / 60:.0f} minutes, so nobody "
                        f"watches any more and {' and '.join(one.name for one in going)} may cost; mend what it says, "
                        f"then run `python -m tpu.launch watch {launch.name}` or `delete {launch.name}`: {error}"
                    ) from None
                print(f"{one.name}: looking again in {WATCH_S:.0f} s: {error}", file=sys.stderr, flush=True)
        if gcloud.dry_run:
            return
        if going:
            time.sleep(WATCH_S)


def _is_over(launch: Launch, one: Slice, failed: set[Slice], gcloud: Gcloud) -> bool:
    """Looks at a slice: whether it needs no other look. `failed`: those whose failure has been told."""
    if time.time() > launch.deadline:
        if one.ours:
            one.delete(gcloud)
        said = "slice deleted" if one.ours else "the slice, which is yours, stays"
        print(f"{one.name}: {launch.max_hours:g} hours are over; {said}, and the workdir stays", flush=True)
        return True
    state = one.state(gcloud)
    code = record.ended(launch, one, gcloud)
    if code is not None and (state in LOST or not state):
        print(f"{one.name}: its job ended with exit code {code}", flush=True)
        return True
    if code == 0:
        if one.ours:
            one.delete(gcloud)
        print(f"{one.name}: its job is done" + ("; slice deleted" if one.ours else ""), flush=True)
        return True
    if code and one not in failed:
        failed.add(one)
        print(
            f"{one.name}: its job ended with exit code {code}; the slice stays, and costs, until "
            f"{launch.until()}: `python -m tpu.launch delete {launch.name}`",
            flush=True,
        )
    elif code is None and (state in LOST or not state) and one.ours:
        print(f"{one.name}: {state or 'gone'}; making it again", flush=True)
        _make_again(launch, one, state, gcloud)
    return False


def _make_again(launch: Launch, one: Slice, state: str, gcloud: Gcloud) -> None:
    """A slice that was taken away; where there is none to be had, the next look tries again."""
    left = (launch.deadline - time.time()) / 3600
    try:
        if state:
            one.delete(gcloud)
            one.await_deletion(gcloud)
        with _undone_on_failure(gcloud) as made:
            _create(one, gcloud, max(left, 0.1), made)
            one.wait(gcloud, max(left, 0.1), say)
            one.start(gcloud, launch.folder, launch.variables(one), say)
        print(f"{one.name}: back, from the last checkpoint on", flush=True)
    except UserError as error:
        print(f"{one.name}: not back yet; trying again in {WATCH_S:.0f} s: {error}", file=sys.stderr, flush=True)


def say(message: str) -> None:
    print(message, flush=True)
