"""A slice: one TPU, of one worker or several, from its creation to its end."""

import dataclasses
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from realm_jax.errors import UserError
from tpu.gcloud import Gcloud, Refused
from tpu.types import slice_type

PORT = 8476
"""Where worker 0 opens the coordinator."""
POLL_S = 15.0
DELETION_S = 1800.0
"""Within which a slice is gone that Google has agreed to delete."""
LOST = ("PREEMPTED", "TERMINATED", "SUSPENDING", "SUSPENDED", "FAILED", "DELETING", "STOPPED")
"""States from which a slice never comes back by itself."""
QUEUED, TPU_VM = ("compute", "tpus", "queued-resources"), ("compute", "tpus", "tpu-vm")


@dataclasses.dataclass(frozen=True)
class Slice:
    """A TPU of the user's project; `job` (NAME-trainer or NAME-builder) is the folder of the job there."""

    name: str
    job: str
    type: str
    zone: str
    spot: bool = False
    queued: bool = False
    ours: bool = True
    """Whether we made it; else it is never deleted."""

    @property
    def where(self) -> tuple[str, str]:
        return (self.name, f"--zone={self.zone}")

    def create(self, gcloud: Gcloud, hours: float) -> None:
        """Asks for the slice; `wait` then waits for it. A request in the queue ends after so many hours."""
        kind = slice_type(self.type)
        spot = ["--spot"] if self.spot else []
        accelerator, runtime = f"--accelerator-type={kind.name}", kind.generation.runtime
        if self.queued:
            options = [accelerator, f"--runtime-version={runtime}", f"--node-id={self.name}", *spot]
            gcloud(*QUEUED, "create", *self.where, *options, f"--valid-until-duration={round(hours * 3600)}s")
        else:
            gcloud(*TPU_VM, "create", *self.where, accelerator, f"--version={runtime}", *spot)

    def state(self, gcloud: Gcloud) -> str:
        """As Google has it, such as WAITING_FOR_RESOURCES, READY or PREEMPTED; `` where there is none."""
        found = self._describe(gcloud)
        if found is None and self.queued:
            found = gcloud.find(*QUEUED, "describe", *self.where)
            return found["state"]["state"] if found else ""
        return found["state"] if found else ""

    def wait(self, gcloud: Gcloud, hours: float, say: Callable[[str], None]) -> None:
        """Waits until the slice is ready, and says each state on the way.

        Raises:
          UserError: it never will be, or is not within so many hours.
        """
        seen, end = None, time.monotonic() + hours * 3600
        while (state := self.state(gcloud)) != "READY":
            if state in LOST or not state:
                raise UserError(
                    f"{self.name}: the slice is {state or 'gone'} before it was ready; "
                    f"`gcloud {shlex.join([*(QUEUED if self.queued else TPU_VM), 'describe', *self.where])}` says why"
                )
            if time.monotonic() > end:
                raise UserError(f"{self.name}: the slice is {state}, and was not ready within {hours:g} hours")
            if state != seen:
                say(f"{self.name}: {state} (Ctrl-C deletes what was asked for)")
                seen = state
            time.sleep(POLL_S)
        say(f"{self.name}: ready")

    def delete_command(self) -> list[str]:
        """Without `gcloud`; a queued request and its slice end together."""
        end = ["--quiet", "--async"]
        return (
            [*QUEUED, "delete", *self.where, "--force", *end] if self.queued else [*TPU_VM, "delete", *self.where, *end]
        )

    def delete(self, gcloud: Gcloud) -> None:
        """Does nothing where there is none."""
        try:
            gcloud(*self.delete_command())
        except Refused as error:
            if not error.is_gone:
                raise

    def await_deletion(self, gcloud: Gcloud) -> None:
        """Waits for the end of the deleted slices: its name is free only then.

        Raises:
          UserError: it does not come.
        """
        end = time.monotonic() + DELETION_S
        while not gcloud.dry_run and (state := self.state(gcloud)):
            if time.monotonic() > end:
                raise UserError(
                    f"{self.name}: {state} still, {DELETION_S / 60:.0f} minutes after Google agreed to delete it, and "
                    f"may cost: run `gcloud {shlex.join(self.delete_command())}`"
                )
            time.sleep(POLL_S)

    def addresses(self, gcloud: Gcloud) -> list[str]:
        """Of its workers within the zone's network, in their order."""
        count = slice_type(self.type).workers if self.type else 1
        found = self._describe(gcloud, [{"ipAddress": f"WORKER_{i}"} for i in range(count)])
        if not found:
            raise UserError(f"{self.name}: there is no such slice in {self.zone}")
        return [endpoint["ipAddress"] for endpoint in found["networkEndpoints"]]

    def _describe(self, gcloud: Gcloud, endpoints: Any = ()) -> Any:
        pretend = {"state": "READY", "networkEndpoints": endpoints}
        return gcloud.find(*TPU_VM, "describe", *self.where, pretend=pretend)

    def ssh(self, command: str, worker: str = "all") -> list[str]:
        """The arguments of gcloud that run a shell command on workers; without one, a shell."""
        return [
            *TPU_VM,
            "ssh",
            *self.where,
            f"--worker={worker}",
            *([f"--command={command}", "--quiet"] if command else []),
        ]

    def script(self, word: str, variables: Mapping[str, str] | None = None) -> str:
        """The command that calls start.sh on a worker."""
        values = {"JOB": self.job, **(variables or {})}
        given = " ".join(f"{name}={shlex.quote(value)}" for name, value in values.items())
        return f"{given} bash ~/realm/{self.job}/start.sh {word}"

    def if_set_up(self, word: str) -> str:
        """The same, on a worker that may not have start.sh yet."""
        return f"test ! -e ~/realm/{self.job}/start.sh || {self.script(word)}"

    def start(
        self, gcloud: Gcloud, launch_folder: str, variables: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        """Sets every worker up, then starts the job on all of them.

        Raises:
          Refused: a worker failed, and said why.
        """
        addresses = self.addresses(gcloud)
        values = {
            **variables,
            "COORDINATOR": f"{addresses[0]}:{PORT}",
            "PROCESSES": str(len(addresses)),
            "DELETE": shlex.join(["gcloud", *self.delete_command()]) if self.ours else "",
        }
        home = f"~/realm/{self.job}"
        fetch = f"mkdir -p {home} && gcloud storage cp {shlex.quote(f'{launch_folder}/start.sh')} {home}/start.sh"
        say(f"{self.name}: setting {len(addresses)} workers up")
        gcloud(*self.ssh(f"{fetch} && {self.script('setup', values)}"))
        gcloud(*self.ssh(self.script("start", values)))
