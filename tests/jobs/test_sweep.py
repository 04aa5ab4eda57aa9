"""What may stand in the file of a sweep, and what `realm sweep` prints, keeps and refuses."""

import dataclasses
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from realm_jax.config import Config, Index, Mesh, Sweep
from realm_jax.config.experiment_file import load_sweep
from realm_jax.errors import UserError
from realm_jax.jobs import cli
from realm_jax.locks import sole_owner
from realm_jax.settings import from_dict
from realm_jax.workdir import SweepDir, Workdir, read_json, write_json
from tests.runtime.small_sweep import BASE, EXPERIMENT, change, finish


class TestSettings:
    def test_a_run_is_named_by_its_variant_and_has_its_seed(self):
        sweep = Sweep({"a": BASE, "b": change(finetune={"steps": 5})}, (3, 4), "a")
        assert sweep.run("b", 4) == dataclasses.replace(change(finetune={"steps": 5}), name="b", seed=4)

    @pytest.mark.parametrize(
        "changed",
        [{}, {"name": "other"}, {"seed": 7}, {"mesh": Mesh(data=2)}, {"index": Index(refresh="inline", mesh=Mesh(1))}],
    )
    def test_equal_runs_are_refused(self, changed):
        with pytest.raises(UserError, match="'a' and 'b' are equal settings, so equal runs; take one out"):
            Sweep({"a": BASE, "b": dataclasses.replace(BASE, **changed)}, (0,), "a")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"seeds": (1, 2, 1)}, r"seeds: \(1, 2, 1\) must be"),
            ({"seeds": ()}, r"seeds: \(\) must be at least one"),
            ({"seeds": (-1,)}, r"seeds: \(-1,\) must be"),
            ({"reference": "c"}, "reference: 'c' is none of the variants a"),
            ({"variants": {"a/b": BASE}, "reference": "a/b"}, "'a/b' cannot name a folder"),
            ({"variants": {"..": BASE}, "reference": ".."}, "cannot name a folder"),
            ({"variants": {"-x": BASE}, "reference": "-x"}, r"'-x' .*; use letters, digits, _ and, inside, \. \+ -$"),
            ({"variants": {}}, "^variants: are none; they must be a dict of names to Config"),
        ],
    )
    def test_faults(self, changes, message):
        with pytest.raises(UserError, match=message):
            Sweep(**{"variants": {"a": BASE}, "seeds": (0,), "reference": "a", **changes})

    def test_a_field_that_is_not_there_is_named(self, tmp_path):
        path = tmp_path / "mine.py"
        path.write_text(EXPERIMENT.replace("SEEDS", "(0,)").replace("learning_rate=1e-5", "learning_rat=1e-5"))
        with pytest.raises(UserError, match=r"mine\.py:15: .*'learning_rat'"):
            load_sweep(path)

    def test_a_file_without_a_sweep(self, tmp_path):
        path = tmp_path / "mine.py"
        path.write_text("def get_config():\n  return 1\n")
        with pytest.raises(
            UserError, match=r"no function get_sweep\(\); define one that returns realm_jax.config.Sweep"
        ):
            load_sweep(path)


class TestCommand:
    def test_a_shipped_sweep_is_called_by_its_name(self, tmp_path, capsys, monkeypatch):
        """Beside a folder of that name, too."""
        monkeypatch.chdir(tmp_path)
        Path("factbook_sweep").mkdir()
        assert cli.main(["sweep", "factbook_sweep", "--print", "--variants", "reference"]) == 0
        commands = capsys.readouterr().out.splitlines()
        assert len(commands) == 3 and all("/runs/factbook_sweep/runs/reference/" in command for command in commands)

    def test_prints_one_command_for_each_run(self, experiment, tmp_path, capsys):
        folder = tmp_path / "sweep"
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print", "--keep", "all"]) == 0
        lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
        assert len(lines) == 8
        assert lines[0][1:7] == ["-m", "realm_jax", "run", str(folder / "runs" / "realm" / "0"), "--keep", "all"]
        assert lines[0][7:] == [">>", str(folder / "runs" / "realm" / "0" / "log.txt"), "2>&1"]
        assert json.loads((folder / "sweep.json").read_text())["variants"] == ["realm", "slow", "stale", "none"]
        finish(Workdir(folder / "runs" / "realm" / "0"))
        assert cli.main(["sweep", str(folder), "--print"]) == 0  # from its folder, what is left of it
        out, err = capsys.readouterr()
        assert len(out.splitlines()) == 7 and err == "sweep: runs asked for: 8, finished already: 1, commands: 7\n"
        assert cli.main(["sweep", str(folder), "--print", "--variants", "realm", "--seeds", "0"]) == 0
        assert capsys.readouterr() == ("", "sweep: runs asked for: 1, finished already: 1, commands: 0\n")
        assert cli.main(["sweep", str(folder), "--print", "--variants", "slow", "realm", "--seeds", "0"]) == 0
        assert [Path(line.split()[4]).parts[-2:] for line in capsys.readouterr().out.splitlines()] == [("slow", "0")]
        assert json.loads((folder / "sweep.json").read_text())["seeds"] == [0, 1]  # it is still all of it
        experiment.write_text(experiment.read_text().replace("(0, 1)", "(1,)"))
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print"]) == 0
        assert "kept: none/0, realm/0, slow/0, stale/0\n" in capsys.readouterr().err

    def test_a_file_that_is_not_there_stops_the_runs_that_need_it(self, experiment, tmp_path, capsys):
        folder, documents = tmp_path / "sweep", tmp_path / "documents.jsonl"
        text = experiment.read_text()
        documents.touch()

        def sweep(name: str, *options: str) -> int:
            part = f'        "broken": replace(base, data=Data(source="jsonl", path={str(tmp_path / name)!r})),\n    }}'
            experiment.write_text(text.replace("    }", part))
            return cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print", *options])

        assert sweep("nothing.jsonl") == 2
        said = (
            f"variants name files that are not there:\n  broken: data.path: '{tmp_path}/nothing.jsonl' is not there\n"
        )
        assert said in capsys.readouterr().err and not folder.exists()
        assert sweep("nothing.jsonl", "--variants", "slow") == 0
        assert len(capsys.readouterr().out.splitlines()) == 2
        assert sweep("nothing.jsonl", "--variants", "broken") == 2
        assert said in capsys.readouterr().err
        assert sweep(documents.name) == 0  # mended; the name that was mistyped is not held against it
        assert len(capsys.readouterr().out.splitlines()) == 10
        (folder / "runs" / "broken" / "0" / "run.json").write_text("{}")
        documents.rename(tmp_path / "moved.jsonl")
        assert sweep("moved.jsonl") == 2
        assert f"begun with other settings: {folder}/runs/broken/0\n  data.path: " in capsys.readouterr().err

    def test_commands_may_be_given_anywhere(self, experiment, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert cli.main(["sweep", str(experiment), "--sweep_dir", "here", "--print"]) == 0
        words = shlex.split(capsys.readouterr().out.splitlines()[0])
        assert Path(words[4]) == tmp_path / "here/runs/realm/0" and Path(words[-2]).is_absolute()

    def test_a_sweep_and_a_run_have_folders_of_their_own(self, experiment, tmp_path, capsys):
        """By default both would have runs/<name of the file>, and the report of one would replace the other's."""
        folder = SweepDir(tmp_path / "both")
        write_json(Workdir(folder.root).config, {})
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder.root), "--print"]) == 2
        assert f"--sweep_dir: {folder.root} is the workdir of a run; name another" in capsys.readouterr().err
        Workdir(folder.root).config.rename(folder.manifest)
        experiment.write_text("from realm_jax.config import Config as get_config")
        assert cli.main(["run", str(experiment), "--workdir", str(folder.root)]) == 2
        assert f"{folder.root}: is the folder of a sweep; --workdir must name another" in capsys.readouterr().err
        assert cli.main(["report", str(folder.root)]) == 2
        assert f"`realm report --sweep {folder.root}` writes its tables" in capsys.readouterr().err

    def test_a_running_sweep_is_left_alone(self, experiment, tmp_path, capsys):
        folder = tmp_path / "sweep"
        with sole_owner(folder, "sweep"):
            assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print"]) == 2
        assert "sweep is already running there" in capsys.readouterr().err
        assert not (folder / "sweep.json").exists() and not (folder / "runs").exists()

    def test_what_a_run_records_is_what_it_runs(self, experiment, tmp_path, capsys):
        folder = tmp_path / "sweep"
        cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print"])
        sweep = load_sweep(experiment)
        for variant in sweep.variants:
            for seed in sweep.seeds:
                recorded = read_json(SweepDir(folder).run(variant, seed).config)["config"]
                assert from_dict(recorded, Config) == sweep.run(variant, seed)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--jobs", "0"], "--jobs: 0 is out of range; it must be at least 1"),
            (["--cluster_options", "mem_gb=3"], "--cluster_options: goes with --cluster slurm or tpu"),
            (["--print", "--keep", "figures"], "--keep: figures is for runs on this machine"),
            (
                ["--print", "--cluster", "slurm"],
                "--print: does not go with --cluster slurm; leave out --print to submit",
            ),
            (
                ["--variants", "realm", "slw"],
                "--variants: slw not in this sweep; did you mean 'slow'?",
            ),
            (["--seeds", "0", "7"], "--seeds: 7 not in this sweep; it has 0, 1"),
        ],
    )
    def test_faults(self, experiment, tmp_path, capsys, options, message):
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(tmp_path / "sweep"), *options]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "sweep").exists()

    @pytest.mark.parametrize(
        ("right", "wrong", "message"),
        [
            ("(0, 1)", "3", "seeds: 3 must be whole numbers in brackets, such as (0, 1, 2)"),
            ("Sweep(variants", "Sweep([base, none]", "variants: are a list; they must be a dict of names to Config"),
        ],
    )
    def test_what_is_of_another_type(self, experiment, tmp_path, right, wrong, message):
        """In a process of its own: type checking, on in this one, words such errors in its own way."""
        experiment.write_text(experiment.read_text().replace(right, wrong))
        command = [sys.executable, "-m", "realm_jax", "sweep", str(experiment), "--sweep_dir", str(tmp_path / "sweep")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 2 and message in done.stderr

    def test_a_folder_that_is_no_sweep(self, tmp_path, capsys):
        assert cli.main(["sweep", str(tmp_path)]) == 2
        assert "a folder without sweep.json is no sweep" in capsys.readouterr().err
        for job in (["report", "--sweep"], ["sweep"]):
            assert cli.main([*job, "gs://bucket/x"]) == 2
            assert "gs://bucket/x: a sweep, its file and its folder must be on a file system" in capsys.readouterr().err
        assert cli.main(["report", "--sweep", str(tmp_path / "nowhere")]) == 2
        assert f"{tmp_path}/nowhere: no such folder; name that of `realm sweep`" in capsys.readouterr().err

    def test_what_is_not_a_sweeps_is_left_alone(self, experiment, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "mine"
        command = ["sweep", str(experiment), "--print", "--sweep_dir"]

        def refused(name: str = "mine") -> str:
            before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
            assert cli.main([*command, name]) == 2
            assert before == {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
            return capsys.readouterr().err

        assert "--sweep_dir: small.py is a file; name another folder" in refused("small.py")
        assert "gs://bucket/x: a sweep, its file" in refused("gs://bucket/x")
        folder.mkdir()
        for name in ("notes.md", "runs", ".git"):
            (folder / name).touch()
            assert f"--sweep_dir: mine is no sweep's and holds {name}; name another folder" in refused()
            (folder / name).unlink()
        for name in (".sweep.lock", ".sweep.json.host.1.tmp"):  # of one that was stopped early
            (folder / name).touch()
        (folder / "stages").mkdir()
        assert cli.main([*command, "mine"]) == 0
        capsys.readouterr()
        manifest = folder / "sweep.json"
        written = json.loads(manifest.read_text())
        foreign = [{}, [], 3, written | {"seeds": 0}, written | {"variants": [0]}, written | {"reference": "other"}]
        for text in ("", '{"seeds": [0', "\udcff", *map(json.dumps, foreign)):
            manifest.write_text(text, errors="surrogateescape")
            assert "mine/sweep.json: not the file of a sweep, with its reference, variants and seeds" in refused()
            for job in (["report", "--sweep"], ["sweep"]):
                assert cli.main([*job, "mine"]) == 2
                assert "mine/sweep.json: not the file of a sweep" in capsys.readouterr().err
        manifest.unlink()
        assert cli.main([*command, "mine"]) == 0
