"""A sweep on SLURM: one job for each run, whatever is refused or does not tell."""

import sys
from pathlib import Path

import pytest

from realm_jax.jobs import cli
from realm_jax.locks import sole_owner
from realm_jax.runtime import slurm
from realm_jax.workdir import SweepDir, read_json


def test_slurm_without_submitit(experiment, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert cli.main(["sweep", str(experiment), "--sweep_dir", str(tmp_path / "s"), "--cluster", "slurm"]) == 2
    assert "run `pip install 'realm_jax[slurm]'`" in capsys.readouterr().err


class TestSlurm:
    @pytest.fixture(autouse=True)
    def slurm(self, tmp_path, monkeypatch):
        """Commands that take jobs as SLURM's do, 101 the first; a job whose number stands in `refused` is refused."""
        pytest.importorskip("submitit")
        self.folder, self.submitted = tmp_path / "s", tmp_path / "submitted"
        self.queue, self.refused = tmp_path / "queue", tmp_path / "refused"
        for file in (self.submitted, self.queue, self.refused):
            file.touch()
        self.executable(
            tmp_path / "bin" / "sbatch",
            f"""
            job=$((101 + $(grep -c ^#!/bin/bash {self.submitted})))
            if grep -q $job {self.refused}; then
                echo "sbatch: error: invalid partition specified: shrt" >&2
                exit 1
            fi
            cat "$1" >> {self.submitted}
            echo $job >> {self.queue}
            echo Submitted batch job $job
            """,
        )
        self.executable(tmp_path / "bin" / "srun", "")
        self.squeue = self.executable(tmp_path / "bin" / "squeue", f"cat {self.queue}")
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")

    def executable(self, path: Path, text: str) -> Path:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def submit(self, experiment, *options: str) -> int:
        return cli.main(["sweep", str(experiment), "--sweep_dir", str(self.folder), "--cluster", "slurm", *options])

    def jobs(self) -> int:
        return self.submitted.read_text().count("#!/bin/bash")

    def test_each_run_is_a_job(self, experiment, capsys):
        assert self.submit(experiment, "--cluster_options", "timeout_min=600", "slurm_partition=short") == 0
        submitted = self.submitted.read_text()
        assert submitted.count("#SBATCH --partition=short") == submitted.count("#SBATCH --time=600") == 8
        assert capsys.readouterr().out.startswith("realm, seed 0: job 101, log in ")
        from submitit.core.utils import DelayedSubmission

        pickled = DelayedSubmission.load(self.folder / "slurm" / "101_submitted.pkl")
        assert str(self.folder / "runs" / "realm" / "0") in pickled.function.command[-1]

    def test_a_refusal_keeps_what_was_submitted_and_the_same_command_submits_the_rest(self, experiment, capsys):
        self.refused.write_text("104\n")
        assert self.submit(experiment) == 2
        out, err = capsys.readouterr()
        assert [line.partition(",")[0] for line in out.splitlines()] == ["realm", "slow", "stale"]
        assert "--cluster slurm: no job for none, seed 0: sbatch: error: invalid partition specified: shrt" in err
        assert "\n3 submitted before it stay. Mend " in err and "Traceback" not in err
        self.refused.write_text("")
        assert self.submit(experiment) == 0
        out = capsys.readouterr().out
        assert self.jobs() == 8 and out.count(": left out, job 10") == 3 and "none, seed 0: job 104" in out

    def test_what_waits_or_runs_is_not_submitted_again(self, experiment, capsys):
        self.submit(experiment)
        self.queue.write_text("101\n1020\n")  # 102 to 108 have ended; 1020 is somebody else's
        running = SweepDir(self.folder).run("none", 1).root
        with sole_owner(running, "run"):
            capsys.readouterr()
            assert self.submit(experiment) == 0
        out = capsys.readouterr().out
        record = self.folder / "runs" / "realm" / "0" / "slurm_job.json"
        assert f"realm, seed 0: left out, job 101 waits or runs; if it does not, delete {record}\n" in out
        assert f"none, seed 1: left out, it is running, log in {running / 'log.txt'}\n" in out
        assert self.jobs() == 14 and read_json(self.folder / "runs" / "slow" / "0" / "slurm_job.json") == {"job": "109"}

    @pytest.mark.parametrize(
        ("squeue", "limit", "why"),
        [
            ("echo slurm_load_jobs error: down >&2; exit 1", 60.0, "slurm_load_jobs error: down"),
            ("exec sleep 60", 0.1, "timed out"),
            (None, 60.0, "No such file"),
        ],
    )
    def test_a_queue_that_does_not_tell(self, experiment, capsys, monkeypatch, squeue, limit, why):
        monkeypatch.setattr(slurm, "SQUEUE_S", limit)
        self.submit(experiment, "--seeds", "0")
        if squeue:
            self.executable(self.squeue, squeue)
        else:
            self.squeue.unlink()
        (self.folder / "runs" / "slow" / "0" / "slurm_job.json").unlink()
        assert self.submit(experiment, "--seeds", "0") == 0
        out, err = capsys.readouterr()
        assert "squeue does not tell which jobs wait or run (" in err and why in err
        assert self.jobs() == 5 and out.count("left out") == 3 and "slow, seed 0: job 105" in out

    def test_no_sbatch(self, experiment, capsys, tmp_path):
        (tmp_path / "bin" / "sbatch").unlink()
        assert self.submit(experiment) == 2
        assert "--cluster slurm: no job for realm, seed 0: [Errno 2]" in capsys.readouterr().err

    @pytest.mark.parametrize("parameter", ["timeout_min", "slurm_partitio=x", "timeout_min=x"])
    def test_a_parameter_that_is_none(self, experiment, capsys, parameter):
        assert self.submit(experiment, "--cluster_options", parameter) == 2
        assert "--cluster_options: " in capsys.readouterr().err
        assert not self.jobs()
