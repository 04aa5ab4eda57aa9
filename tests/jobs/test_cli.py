import functools
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from realm_jax import __version__
from realm_jax.config import Config, Index, Pretrain
from realm_jax.config.experiment_file import shipped
from realm_jax.errors import UserError
from realm_jax.jobs import cli
from realm_jax.jobs.job import Job, NoArguments
from realm_jax.reports import sweep_report
from realm_jax.runtime import peers
from realm_jax.runtime.signals import Terminated
from realm_jax.settings import First, flatten, marked
from realm_jax.stages import STAGES
from realm_jax.workdir import write_json

EXPERIMENT = """
from realm_jax.config import Config, Index, Pretrain

def get_config():
    return Config(name="mine", pretrain=Pretrain(steps=7))
"""


@dataclass(frozen=True)
class Arguments:
    depth: int = 1
    """How deep."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with an experiment file."""
    (tmp_path / "mine.py").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def become(monkeypatch, main, arguments=NoArguments) -> None:
    """All jobs do this instead of what they do."""
    jobs = {name: Job(name, "A job.\n\nMore.", main, arguments, job.begins) for name, job in cli.JOBS.items()}
    monkeypatch.setattr(cli, "main", functools.partial(cli.main, jobs=jobs))


@pytest.fixture
def calls(monkeypatch):
    """What the job was called with; jobs do nothing else."""
    calls = []
    become(monkeypatch, main=lambda *given: calls.append(given), arguments=Arguments)
    return calls


def failure(capsys, *argv: str) -> str:
    """The message of a command that must end with code 2."""
    try:
        code = cli.main(argv)
    except SystemExit as end:
        code = end.code
    assert code == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return " ".join(message.replace("│", " ").split())


def test_a_library_that_could_not_write_is_no_bug(folder, monkeypatch, capsys):
    def full(*given):
        raise RuntimeError("write() failed: No space left on device; writing /a/rows; at byte 7")

    become(monkeypatch, full)
    assert "realm: error: /a/rows: No space left on device" in failure(capsys, "prepare", "mine.py")


def test_settings_are_the_experiments_where_no_option_is_given(folder, calls):
    assert cli.main(["prepare", "mine.py"]) == 0 and cli.main(["prepare", "mine.py", "--depth", "1"]) == 0
    (config, workdir, arguments), others = calls
    assert (config, workdir, arguments) == others and arguments == Arguments()


class TestHelp:
    def test_lists_every_job_with_one_line(self, capsys):
        assert cli.main(["--help"]) == 0
        text = capsys.readouterr().out
        assert set(STAGES) < set(cli.JOBS)
        for name in cli.JOBS:
            (line,) = [line for line in text.splitlines() if line.startswith(f"  {name} ")]
            assert len(line.split()) > 4 and line.endswith(".") and len(line) <= 120

    def test_every_module_of_a_job_is_listed(self):
        files = {file.stem for file in Path(cli.__file__).parent.glob("*.py") if "= Job(" in file.read_text()}
        assert files == set(cli.JOBS) - set(STAGES)

    @pytest.mark.parametrize("name", [name for name, job in cli.JOBS.items() if job.main])
    def test_of_a_job_names_every_option(self, name, capsys):
        with pytest.raises(SystemExit) as end:
            cli.main([name, "--help-all"])
        assert end.value.code == 0
        text = capsys.readouterr().out
        assert cli.JOBS[name].help.splitlines()[0] in text
        for option in ["workdir", *flatten(Config())]:
            assert f"--{option}" in text

    def test_begins_with_the_options_to_try_first(self, folder, capsys):
        with pytest.raises(SystemExit) as end:
            cli.main(["pretrain", "mine.py", "--help"])
        text = capsys.readouterr().out
        assert end.value.code == 0 and f"--help-all shows all {len(flatten(Config()))}" in text
        listed = set(re.findall(r"^\W*--([a-z0-9_.]+)", text, re.MULTILINE))
        assert listed == {*marked(Config, First), *(one.name for one in fields(peers.Processes)), "workdir"}

    def test_of_a_group(self, folder, capsys):
        with pytest.raises(SystemExit):
            cli.main(["pretrain", "mine.py", "--help", "index"])
        text = capsys.readouterr().out
        listed = set(re.findall(r"^\W*--([a-z0-9_.]+)", text, re.MULTILINE))
        assert {name for name in listed if "." in name} == {f"index.{name}" for name in flatten(Index())}

    def test_shows_the_values_of_the_experiment(self, folder, capsys):
        with pytest.raises(SystemExit):
            cli.main(["pretrain", "mine.py", "--help"])
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "--pretrain.steps INT Gradient steps of pre-training; 0 leaves it out. (default: 7)" in text
        assert "(default: runs/mine)" in text
        assert not (folder / "runs").exists()

    def test_shipped_experiments_have_a_line_each(self, capsys):
        """Their heads' first; what they import is not listed."""
        assert cli.main(["experiments"]) == 0
        lines = capsys.readouterr().out.splitlines()
        (line,) = [line for line in lines if line.startswith("  factbook ")]
        assert line.split(maxsplit=1)[1] == shipped()["factbook"].read_text().splitlines()[0].strip('"')
        listed = [line.split()[0] for line in lines if line.startswith("  ")]
        assert sorted(listed) == sorted(set(shipped()) - {"ablations"})

    def test_nothing_asked(self, capsys):
        assert cli.main([]) == 2
        assert "usage: realm JOB EXPERIMENT" in capsys.readouterr().out

    def test_version(self, capsys):
        assert cli.main(["--version"]) == 0
        assert capsys.readouterr().out == f"realm_jax {__version__}\n"

    def test_as_a_module(self):
        done = subprocess.run([sys.executable, "-m", "realm_jax", "nojob"], capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("realm: error: no job 'nojob'; there are run, sweep, import_weights")


class TestCalls:
    def test_options_are_laid_over_the_experiment(self, folder, calls):
        assert cli.main(["pretrain", "mine.py", "--pretrain.batch_size", "3", "--depth", "5"]) == 0
        ((config, workdir, arguments),) = calls
        assert config == Config(name="mine", pretrain=Pretrain(steps=7, batch_size=3))
        assert workdir.root == Path("runs/mine")
        assert arguments == Arguments(depth=5)

    def test_hyphens_do_too(self, folder, calls):
        assert cli.main(["build-index", "mine.py", "--pretrain.batch-size", "3", "--masking.no-subject"]) == 0
        assert (calls[0][0].pretrain.batch_size, calls[0][0].masking.subject) == (3, False)

    def test_a_shipped_experiment_is_called_by_its_name(self, folder, calls):
        """Beside a folder of that name too, unless a run was begun there."""
        for _ in range(2):
            assert cli.main(["pretrain", "factbook"]) == 0
            Path("factbook").mkdir(exist_ok=True)
        assert cli.main(["pretrain", "mine.py", "--workdir", "factbook"]) == 0
        assert cli.main(["pretrain", "factbook"]) == 0
        assert [str(workdir.root) for _, workdir, _ in calls] == ["runs/factbook", "runs/factbook"] + ["factbook"] * 2
        assert [config.name for config, _, _ in calls] == ["factbook", "factbook", "mine", "mine"]

    @pytest.mark.parametrize("words", [["--workdir", "there"], ["--workdir=there"]])
    def test_later_jobs_take_the_recorded_settings(self, folder, calls, words):
        assert cli.main(["prepare", "mine.py", *words, "--seed", "4"]) == 0
        assert cli.main(["pretrain", "mine.py", *words]) == 0
        assert cli.main(["evaluate", "there"]) == 0
        assert cli.main(["evaluate", "there", "--workdir", "./there", "--seed", "4"]) == 0
        assert [config.seed for config, _, _ in calls] == [4, 4, 4, 4]
        assert {str(workdir.root) for _, workdir, _ in calls} == {"there"}

    def test_recorded_settings_are_used_though_the_file_has_changed(self, folder, calls):
        cli.main(["prepare", "mine.py", "--workdir", "there"])
        (folder / "mine.py").write_text("broken(")
        assert cli.main(["pretrain", "there"]) == 0
        assert calls[0][0] == calls[1][0]

    def test_options_of_a_job_that_could_not_begin_are_not_kept(self, folder, monkeypatch):
        def fails(config, workdir, arguments):
            write_json(workdir.usage, {})  # as `run`, which counts its time
            if config.seed == 9 or config.mesh.fsdp == 9:
                raise UserError("no 9")

        become(monkeypatch, fails)
        assert cli.main(["prepare", "mine.py", "--seed", "9"]) == 2
        assert not Path("runs/mine/config.json").exists()
        assert cli.main(["prepare", "mine.py", "--seed", "1"]) == 0
        before = Path("runs/mine/config.json").read_text()
        assert cli.main(["prepare", "mine.py", "--mesh.fsdp", "9"]) == 2
        assert Path("runs/mine/config.json").read_text() == before

    @pytest.mark.parametrize("code", [2, peers.PEER_FAILED])
    def test_nor_are_those_of_a_job_of_several_processes(self, folder, monkeypatch, code):
        """Whether this one failed, or only another: its supervisor has left its own files by then."""
        become(monkeypatch, None, peers.Processes)
        supervise, worker = peers.supervise, [sys.executable, "-S", "-c", f"raise SystemExit({code})"]
        monkeypatch.setattr(peers, "supervise", lambda *given: supervise(*given[:3], worker))
        words = ["pretrain", "mine.py", "--coordinator", "localhost:1", "--process_count", "1", "--process_id", "0"]
        assert cli.main([*words, "--seed", "9"]) == code
        assert Path("runs/mine/pretrain/.pretrain.peers/0.json").exists()
        assert not Path("runs/mine/config.json").exists()
        (Path("runs/mine/pretrain") / "metrics.jsonl").touch()
        assert cli.main([*words, "--seed", "9"]) == code
        assert Path("runs/mine/config.json").exists()

    def test_options_of_what_was_made_are_kept_when_it_fails(self, folder, monkeypatch):
        def makes(config, workdir, arguments):
            (workdir.root / "made").write_text("much")
            raise UserError("in the middle")

        become(monkeypatch, makes)
        assert cli.main(["prepare", "mine.py", "--seed", "9"]) == 2
        assert Path("runs/mine/config.json").exists()

    def test_exit_code_of_the_job_is_ours(self, folder, monkeypatch):
        become(monkeypatch, lambda *_: 37)
        assert cli.main(["run", "mine.py"]) == 37

    @pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (Terminated, 143), (UserError("no"), 2)])
    def test_exit_code_when_stopped(self, folder, monkeypatch, capsys, error, code):
        def stop(*_):
            raise error

        become(monkeypatch, stop)
        assert cli.main(["run", "mine.py"]) == code
        assert "Traceback" not in capsys.readouterr().err

    def test_errors_of_the_program_show_a_traceback(self, folder, monkeypatch):
        def fail(*_):
            raise ZeroDivisionError

        become(monkeypatch, fail)
        with pytest.raises(ZeroDivisionError):
            cli.main(["run", "mine.py"])


class TestMistakes:
    @pytest.fixture(autouse=True)
    def nothing_is_done(self, folder, calls):
        before = sorted(folder.rglob("*"))
        yield
        assert calls == []
        assert sorted(folder.rglob("*")) == before

    def test_unknown_job_names_the_nearest(self, capsys):
        assert failure(capsys, "pretain", "mine.py") == "realm: error: no job 'pretain'; did you mean 'pretrain'?"

    @pytest.mark.parametrize("words", [[], ["--seed", "1", "mine.py"]])
    def test_experiment_left_out(self, capsys, words):
        assert "the experiment comes right after the job: realm pretrain" in failure(capsys, "pretrain", *words)

    def test_no_such_experiment_names_the_nearest(self, capsys):
        assert "factbok: no such experiment file; did you mean factbook" in failure(capsys, "pretrain", "factbok")

    def test_missing_file_names_the_nearest(self, capsys):
        assert "mime.py: no such experiment file; did you mean mine.py?" in failure(capsys, "pretrain", "mime.py")

    def test_unknown_option_names_the_nearest(self, capsys):
        message = failure(capsys, "pretrain", "mine.py", "--pretrain.stepz", "3")
        assert "--pretrain.stepz" in message and "Perhaps you meant: --pretrain.steps INT" in message

    def test_wrong_type_names_option_and_value(self, capsys):
        message = failure(capsys, "pretrain", "mine.py", "--pretrain.steps", "many")
        assert "--pretrain.steps" in message and "'many'" in message

    def test_wrong_choice_names_the_right_ones(self, capsys):
        message = failure(capsys, "pretrain", "mine.py", "--index.kind", "faiss")
        assert "--index.kind" in message and "'faiss'" in message and "('scann', 'exact', " in message

    def test_out_of_range(self, capsys):
        message = failure(capsys, "pretrain", "mine.py", "--pretrain.steps", "-2")
        assert message == "realm: error: pretrain.steps: -2 is out of range; it must be at least 0"

    def test_a_file_that_is_not_there(self, capsys):
        message = failure(capsys, "pretrain", "mine.py", "--questions.dev", "nowhere.jsonl")
        assert message == "realm: error: questions.dev: 'nowhere.jsonl' is not there; no workdir was begun"

    def test_option_of_another_job(self, capsys):
        assert "--breadth" in failure(capsys, "pretrain", "mine.py", "--breadth", "3")

    def test_folder_that_is_no_run(self, capsys):
        Path("empty").mkdir()
        try:
            assert "empty: a folder without config.json is no run's workdir" in failure(capsys, "pretrain", "empty")
        finally:
            Path("empty").rmdir()

    @pytest.mark.parametrize("name", ["evaluate", "report", "ask"])
    def test_jobs_that_only_read_begin_no_run(self, capsys, name):
        message = failure(capsys, name, "mine.py", "--workdir", "new")
        assert "new: no run there; begin one with `realm run mine.py`" in message


class TestWorkdirOfOthers:
    @pytest.fixture(autouse=True)
    def begun(self, folder, calls):
        cli.main(["prepare", "mine.py", "--workdir", "there", "--seed", "4"])
        calls.clear()
        before = Path("there/config.json").read_bytes()
        yield
        assert calls == []
        assert Path("there/config.json").read_bytes() == before

    def test_other_option(self, capsys):
        message = failure(capsys, "pretrain", "mine.py", "--workdir", "there", "--seed", "5", "--pretrain.steps", "8")
        assert "there belongs to other settings: seed: 4 there, 5 asked for pretrain.steps: 7 there, 8" in message
        assert "use another --workdir" in message

    def test_changed_file(self, capsys, folder):
        (folder / "mine.py").write_text(EXPERIMENT.replace("steps=7", "steps=9"))
        message = failure(capsys, "pretrain", "mine.py", "--workdir", "there")
        assert "mine.py has changed since there was begun: pretrain.steps: 7 then, 9 now" in message

    def test_two_workdirs_at_once(self, capsys):
        assert "--workdir: other is not there, the run" in failure(capsys, "evaluate", "there", "--workdir", "other")


@pytest.mark.parametrize("words", ["--beside a b --beside c", "--beside a --beside b --beside=c", "--beside a b c"])
def test_reports_from_elsewhere_may_be_named_one_by_one(monkeypatch, words):
    given = []
    monkeypatch.setattr(sweep_report, "write_sweep_report", lambda *paths: given.append(paths))
    assert cli.main(["report", "--sweep", "here", *words.split()]) == 0
    assert given == [(Path("here"), (Path("a"), Path("b"), Path("c")))]


def test_the_page_of_jobs_has_all_of_them():
    page = (Path(cli.__file__).parents[2] / "docs/jobs.md").read_text()
    assert set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE)) == set(cli.JOBS)
