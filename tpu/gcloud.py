"""The gcloud CLI: every command of ours goes through it, and its errors come back with the command to run next."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

from realm_jax.errors import UserError

SHOWN_LINES = 12
LONGEST_S = 3600.0
"""Of one command; slices are created, and workers set up, in less."""
TAKEN = r"ALREADY_EXISTS|already exists"
# What gcloud says, what that means, and what to do. The first that fits counts: quota before capacity.
MISTAKES = (
    (
        r"active account selected|gcloud auth login|[Rr]eauthentication|invalid_grant",
        "not logged in; run `gcloud auth login`",
    ),
    (
        r"\[?core/project\]?|property \[project\]|project.*is not set",
        "no project is set; run `gcloud config set project PROJECT`",
    ),
    (
        r"SERVICE_DISABLED|has not been used in project|API .*not enabled",
        "an API is off; run `gcloud services enable tpu.googleapis.com storage.googleapis.com`",
    ),
    (
        r"[Qq]uota (limit|metric)|[Qq]uota.{0,200}exceed|exceed.{0,80}quota|[Ii]nsufficient.{0,40}quota|QUOTA_EXCEEDED",
        "the quota is used up; see it with `gcloud beta quotas info list --service=tpu.googleapis.com "
        "--project=PROJECT`, ask there for more, or take another --type or --zone, or --spot, which has a quota of its "
        "own",
    ),
    (
        r"no more capacity|RESOURCE_EXHAUSTED|stockout|ZONE_RESOURCE_POOL",
        "the zone has none left now; run the same command with --queued, which waits for one, or in another --zone",
    ),
    (TAKEN, "the name is taken; choose another --name, or go on there with --on-existing"),
    (
        r"PERMISSION_DENIED|does not have permission|\b403\b",
        "your account may not do that; the roles are roles/tpu.admin and roles/storage.admin, given with "
        "`gcloud projects add-iam-policy-binding PROJECT --member=user:YOU --role=roles/tpu.admin`",
    ),
)
GONE = r"NOT_FOUND|not found|could not be found|matched no objects|\b404\b"


class Refused(UserError):
    """gcloud failed. `said` is its output."""

    def __init__(self, message: str, said: str):
        super().__init__(message)
        self.said = said

    @property
    def is_gone(self) -> bool:
        """Whether the resource asked about does not exist."""
        return bool(re.search(GONE, self.said))

    @property
    def is_taken(self) -> bool:
        """Whether the resource to be made exists."""
        return bool(re.search(TAKEN, self.said))


class Gcloud:
    """Runs `gcloud ...`. In a dry run it prints the commands and runs none; reading then gives the pretended state."""

    def __init__(self, dry_run: bool = False, say: Callable[[str], None] = print):
        self.dry_run, self._say = dry_run, say
        if not dry_run and shutil.which("gcloud") is None:
            raise UserError(
                "gcloud: not found on the PATH; install it (https://cloud.google.com/sdk/docs/install), then run "
                "`gcloud init`"
            )

    def __call__(self, *arguments: str, pretend: str = "") -> str:
        """Standard output.

        Raises:
          Refused: gcloud failed, or gave no answer; the message tells you a way out.
        """
        command = ["gcloud", *arguments]
        if self.dry_run:
            self._say(shlex.join(command))
            return pretend
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            said = f"no answer within {LONGEST_S / 60:.0f} minutes, so it was ended"
            raise Refused(f"`{shlex.join(command)}` failed: {said}", said) from None
        if done.returncode == 0:
            return done.stdout
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-SHOWN_LINES:])
        advice = next((advice for pattern, advice in MISTAKES if re.search(pattern, said)), "")
        name = " ".join(word for word in arguments[:4] if not word.startswith("-"))
        end = f"\ngcloud {name}: {advice}" if advice else ""
        raise Refused(f"`{shlex.join(command)}` failed (exit code {done.returncode}):\n{said}{end}", said)

    def json(self, *arguments: str, pretend: Any = None) -> Any:
        """The command's output with --format=json."""
        said = self(*arguments, "--format=json", pretend=json.dumps(pretend))
        return json.loads(said or "null")

    def find(self, *arguments: str, pretend: Any = None) -> Any:
        """As `json`, but None for a resource that does not exist."""
        try:
            return self.json(*arguments, pretend=pretend)
        except Refused as error:
            if error.is_gone:
                return None
            raise

    def attach(self, *arguments: str) -> int:
        """Runs the command on this terminal; returns its exit code."""
        command = ["gcloud", *arguments]
        if self.dry_run:
            self._say(shlex.join(command))
            return 0
        return subprocess.run(command).returncode
