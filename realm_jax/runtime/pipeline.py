"""The jobs of an experiment as child processes, in order; complete ones are skipped."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Iterator

from realm_jax.config import Config
from realm_jax.locks import sole_owner
from realm_jax.remote import AnyPath
from realm_jax.runtime.peers import PEER_FAILED, Processes
from realm_jax.runtime.processes import PATIENCE_S, Child, Usage, stop
from realm_jax.stages import SEVERAL, STAGES, of_run
from realm_jax.workdir import DataDir, StageDir, Workdir, read_json

RESTARTS = 2
"""Times that a builder that died is started again; after that the trainer stops by its own bound."""
USER_ERROR = 2
SHOWN_S = 2.0
"""Seconds after which the first of several machines shows anew, in run.json, that it works and the steps that it has
done."""


@dataclasses.dataclass(frozen=True)
class Step:
    """A job, and whether its result is there already."""

    job: str
    is_complete: Callable[[], bool]
    beside: str = ""
    """A second job that runs at the same time and ends when this one is done."""
    always: bool = False
    """Run even when complete: the job itself then sees whether the result fits these settings."""
    folder: AnyPath | None = None
    """The folder that it fills, which several runs may share: one of them does it, and the others wait for that one."""
    elsewhere: bool = False
    """Done on another machine, so only waited for."""


def steps_of(config: Config, workdir: Workdir, builder_is_here: bool = True) -> list[Step]:
    """The jobs that the experiment needs, in order."""

    data = workdir.data(config.data.directory)
    beside = config.index.refresh == "beside"

    def trained(name: str) -> Iterator[Step]:
        stage, builder = workdir.stage(name), STAGES[name].beside
        yield Step(name, stage.done.exists, builder if beside and builder_is_here else "", folder=stage.root)
        if builder:  # complete already, unless it was stopped before it came to the result
            elsewhere = beside and not builder_is_here
            yield Step(builder, lambda: _result_is_indexed(stage, data), folder=stage.root, elsewhere=elsewhere)

    # Prepared data that several workdirs share may be another experiment's, without these questions; documents of one's
    # own change.
    again = bool(config.data.directory or config.data.path or config.questions.has_own_folder)
    return [
        Step("prepare", data.done.exists, always=again, folder=data.root),
        # Pre-training of 0 steps leaves its start as its result, with an index: the arm without pre-training.
        *(step for name in of_run(config) for step in trained(name)),
        Step("evaluate", workdir.results.exists),
        Step("report", lambda: workdir.is_finished),
    ]


def steps_of_builder(config: Config, workdir: Workdir) -> list[Step]:
    """The work of a builder on machines of its own: it waits for the trainer's start, and follows it to its end."""
    data, stage = workdir.data(config.data.directory), workdir.stage("pretrain")
    return [
        Step("prepare", data.done.exists, elsewhere=True),
        Step("pretrain", stage.checkpoints.is_dir, elsewhere=True),
        Step("build_index", lambda: stage.done.exists() and _result_is_indexed(stage, data)),
    ]


def _result_is_indexed(stage: StageDir, data: DataDir) -> bool:
    """Whether the checkpoint that pre-training left for fine-tuning has a snapshot of the passages as they are."""
    manifest = stage.snapshots / str(read_json(stage.done, step=int)["step"]) / "manifest.json"
    made_from = {"fingerprint": str}
    return manifest.exists() and (
        read_json(manifest, **made_from)["fingerprint"] == read_json(data.done, **made_from)["fingerprint"]
    )


@dataclasses.dataclass
class Pipeline:
    """Runs `Step`s. `command` gives the command line of a job.

    One of several on as many machines, if there are options that make a job one of several processes: `together`. The
    first then does alone the jobs that several cannot do; the others wait for it.
    """

    workdir: Workdir
    command: Callable[[str], list[str]]
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    shares: Callable[[], dict[str, dict[str, str]]] = dict
    """Added to `environment` for each of two jobs that run at the same time."""
    finish: Callable[[str], None] = lambda job: None
    """Called with each job that is complete."""
    restart_pause_s: float = 2.0
    patience_s: tuple[float, ...] = PATIENCE_S
    sample_s: float = 2.0
    """Seconds between two looks at memory; a look costs about as much as the jobs are large."""
    label: str = "run"
    first: bool = True
    poll_s: float = 1.0
    together: tuple[str, ...] = ()
    peer_timeout_s: float = Processes.peer_timeout_s
    """Seconds without a sign of life of the first, after which the others end."""

    @property
    def _usage_file(self) -> AnyPath:
        """The signs of life of the first, anew every two seconds."""
        return self.workdir.root / f"{self.label}.json"

    def run(self, steps: Iterable[Step]) -> int:
        """Returns 0, or the exit code of the job that failed. Ctrl-C and SIGTERM stop all jobs and go on upwards."""
        record = self._usage_file if self.first else None
        with (
            sole_owner(self.workdir.root, self.label) if self.first else contextlib.nullcontext(),
            Usage(record, interval_s=self.sample_s, **({"save_every_s": SHOWN_S} if self.together else {})) as usage,
        ):
            for step in steps:
                shared = self.first and step.folder
                turn = sole_owner(step.folder, self.label, wait=say) if shared else contextlib.nullcontext()
                with turn:
                    if code := self._complete(step, usage):
                        usage.failed = step.job
                        return code
                    self.finish(step.job)
                    usage.done.append(step.job)
                    usage.save()
        return 0

    def _complete(self, step: Step, usage: Usage) -> int:
        again = step.always and not self.first
        if step.is_complete() and not step.always:
            say(f"{step.job} is complete")
            return 0
        if again or step.elsewhere or not (self.first or step.job in SEVERAL):
            why = "process 0 does in each start" if again else "runs on another machine"
            say(f"waiting for {step.job}, which {why}")
            return self._await(step)
        say(step.job + (f", with {step.beside} beside it" if step.beside else ""))
        start = time.monotonic()
        with usage.stage(step.job):
            code = self._run_step(step, usage)
        if code:
            return code
        if not self.first:
            if code := self._await(step):
                return code
        elif not step.is_complete():
            say(f"{step.job} ended without an error, but what it should have made is not there")
            return 1
        say(f"{step.job} done in {time.monotonic() - start:.0f} s")
        return 0

    def _run_step(self, step: Step, usage: Usage) -> int:
        main = builder = None
        shares = self.shares() if step.beside else {}
        try:
            main = self._start(step.job, shares)
            if not (step.beside and self.first):
                return self._failure(main, self._wait(main))
            prefix = f"{step.beside} | "
            builder = Restarted(lambda: self._start(step.beside, shares, prefix), self.restart_pause_s)
            with usage.stage(step.beside):
                while (code := main.exit_code()) is None:
                    if builder.look_after() == USER_ERROR:
                        # It would fail in the same way again, and the trainer wait in vain.
                        stop([main], self.patience_s)
                        return self._failure(builder.child, USER_ERROR)
                    time.sleep(0.1)
                if code == 0:
                    self._wait(builder.child)  # it ends by itself, with an index of the result
            return self._failure(main, code)
        finally:
            stop([child for child in (main, builder and builder.child) if child], self.patience_s)

    def _start(self, job: str, shares: dict[str, dict[str, str]], prefix: str = "") -> Child:
        together = self.together if job in SEVERAL and not prefix else ()
        command = [*self.command(job), *together]
        return Child(job, command, {**self.environment, **shares.get(job, {})}, prefix=prefix)

    def _await(self, step: Step) -> int:
        """Waits for a result that is made on another machine; returns 0, or `PEER_FAILED` where process 0, which makes
        it or waits for it too, failed meanwhile or is gone. Process 0 waits as long as it takes: its starter ends it.

        A step that is always run counts as done only once process 0 shows that it has done it since then:
        it may be of an earlier start.
        """
        if self.first:
            while not step.is_complete():
                time.sleep(self.poll_s)
            return 0
        before = last = self._shown_by_first()
        since = time.monotonic()
        while True:
            now = self._shown_by_first()
            if now != last:
                last, since = now, time.monotonic()
            told = now != before and step.job in now.get("done", ())
            if told if step.always else step.is_complete():
                return 0
            why = ""
            if now != before and "failed" in now:
                why = f"failed at {now['failed']}, see its own messages"
            elif time.monotonic() - since > self.peer_timeout_s:
                why = f"has given no sign of life in {self._usage_file} for {self.peer_timeout_s:g} s"
            if why:
                say(f"waiting for {step.job}: process 0 {why}; start all processes again, in the same workdir")
                return PEER_FAILED
            time.sleep(self.poll_s)

    def _shown_by_first(self) -> dict:
        with contextlib.suppress(OSError):
            return read_json(self._usage_file)
        return {}

    def _wait(self, child: Child) -> int:
        while (code := child.exit_code()) is None:
            time.sleep(0.1)
        return code

    def _failure(self, child: Child, code: int) -> int:
        if code:
            say(f"{child.job} failed with exit code {code}; see above. The same command goes on from there")
        return code


class Restarted:
    """A child that is started again when it dies, a few times."""

    def __init__(self, start: Callable[[], Child], pause_s: float):
        self._start, self._pause_s = start, pause_s
        self._left, self._again_at, self._given_up = RESTARTS, None, False
        self.child = start()

    def look_after(self) -> int | None:
        """The exit code of a child that runs no more."""
        code = self.child.exit_code()
        if code in (None, 0, USER_ERROR) or self._given_up:
            return code
        if self._again_at is None:
            if not self._left:
                self._given_up = True
                say(f"{self.child.job} died {RESTARTS + 1} times (exit code {code}); it is not started again")
                return code
            say(f"{self.child.job} died (exit code {code}); starting it again in {self._pause_s:.0f} s")
            self._again_at = time.monotonic() + self._pause_s
        elif time.monotonic() >= self._again_at:
            self._left, self._again_at = self._left - 1, None
            self.child = self._start()
        return code


def say(message: str) -> None:
    print(f"run: {message}", file=sys.stderr, flush=True)
