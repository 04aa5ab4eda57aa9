"""A sweep on Cloud TPU VMs: one command of the launcher for each run."""

import re
import shlex
from pathlib import Path

import pytest

from realm_jax.config import Sweep
from realm_jax.config.experiment_file import load_experiment, load_sweep
from realm_jax.jobs import cli
from realm_jax.jobs.options import parse
from realm_jax.runtime.launches import FLAGS, LONGEST_NAME, VALUES, launches, option_words
from realm_jax.workdir import SweepDir
from tests.runtime.small_sweep import BASE, change, finish
from tpu import launch as launcher


def without_seed(options: list[str], default: int, seed: int) -> list[str]:
    """The options but for `--seed`, which must be this one."""
    at = options.index("--seed") if "--seed" in options else len(options)
    assert (options[at + 1 : at + 2] or [str(default)]) == [str(seed)]
    return options[:at] + options[at + 2 :]


class TestLaunches:
    """On Cloud TPU VMs."""

    OPTIONS = ("type=v5e-1", "zone=us-west4-a", "bucket=gs://b")

    def printed(self, capsys, source: Path, *options: str, more: tuple[str, ...] = ()) -> list[list[str]]:
        command = ["sweep", str(source), "--cluster", "tpu", *more, "--cluster_options", *self.OPTIONS, *options]
        assert cli.main(command) == 0
        return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]

    def refused(self, capsys, source: Path, *options: str) -> str:
        assert cli.main(["sweep", str(source), "--cluster", "tpu", "--cluster_options", *options]) == 2
        out, err = capsys.readouterr()
        assert not out
        return err

    def test_give_each_variant_as_options(self, experiment, capsys):
        experiment.write_text(experiment.read_text() + "def get_config():\n    return get_sweep().variants['realm']\n")
        lines = self.printed(capsys, experiment)
        fixed = ["--type", "v5e-1", "--zone", "us-west4-a", "--bucket", "gs://b", "--"]
        assert all(line[:5] == ["python", "-m", "tpu.launch", str(experiment), "--name"] for line in lines)
        assert all(line[6:13] == fixed for line in lines)
        assert lines[1][5] == f"{experiment.stem}-slow-0" and len({line[5] for line in lines}) == len(lines) == 8
        assert lines[5][13:] == ["--name", "slow", "--seed", "1", "--finetune.learning_rate", "1e-05"]
        lines = self.printed(capsys, experiment, more=("--variants", "slow", "--sweep_dir", "runs/other"))
        assert [line[5] for line in lines] == ["other-slow-0", "other-slow-1"]

    @pytest.mark.parametrize(
        ("name", "base"),
        [
            ("factbook_sweep", "factbook"),
            ("factbook_gain_sweep", "factbook"),
            ("factbook_unfiltered_sweep", "factbook"),
            ("wikipedia_sweep", "wikipedia"),
            ("wikipedia_small_sweep", "wikipedia_small"),
        ],
    )
    def test_every_sweep_that_is_shipped_can_be_launched(self, name, base, tmp_path):
        """The launcher takes each command, and its options make the variant of the base."""
        folder = Path(__file__).parents[2] / "experiments"
        sweep, start = load_sweep(folder / f"{name}.py"), load_experiment(folder / f"{base}.py")
        given = dict(option.split("=") for option in self.OPTIONS) | {"config": str(folder / f"{base}.py")}
        commands = launches(sweep, name, folder / f"{name}.py", given)
        names, fixed = set(), {}
        for (variant, seed), command in commands.items():
            words = shlex.split(command)
            cut = words.index("--")
            arguments, options = words[3:cut], words[cut + 1 :]
            assert arguments[1] == "--name" and re.fullmatch("[a-z][a-z0-9-]{0,39}", arguments[2])
            names.add(arguments[2])
            rest = arguments[:1] + arguments[3:] + without_seed(options, start.seed, seed)
            assert fixed.setdefault(variant, rest) == rest
            if seed == sweep.seeds[-1]:  # the commands of the others are the same: parsing takes long
                assert launcher._parser().parse_args(["start", *arguments]).name == arguments[2]
                assert parse(cli.JOBS["run"], options, start, tmp_path)[0] == sweep.run(variant, seed)
        assert len(names) == len(sweep.variants) * len(sweep.seeds)

    def test_from_the_folder_of_a_sweep(self, experiment, tmp_path, capsys):
        base = tmp_path / "base.py"
        base.write_text("from realm_jax.config import Config\n\ndef get_config():\n    return Config()\n")
        folder = tmp_path / "Sweep"
        assert cli.main(["sweep", str(experiment), "--sweep_dir", str(folder), "--print"]) == 0
        capsys.readouterr()
        finish(SweepDir(folder).run("slow", 0))
        lines = self.printed(capsys, folder, f"config={base}")
        assert lines[0][3:6] == [str(base), "--name", "sweep-realm-0"]
        assert len(lines) == 7 and "sweep-slow-0" not in {line[5] for line in lines}
        assert "config is missing" in self.refused(capsys, folder, *self.OPTIONS)

    def test_flags(self, experiment, tmp_path, capsys):
        experiment.write_text(experiment.read_text() + "def get_config():\n    return get_sweep().variants['realm']\n")
        (line, *_) = self.printed(capsys, experiment, "spot=true", "queued=false", "allow_dirty=true", "max_hours=3")
        assert line[12:17] == ["--spot", "--allow-dirty", "--max-hours", "3", "--"]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("zone=us-west4-a",), "tpu.launch also needs type or on-existing, bucket; such as type=v5e-8"),
            (("type=v5e-8", "bucket=gs://b", "zone="), "tpu.launch also needs zone; such as"),
            (("type=v5e-8", "zone=z", "bucket=mine"), "--cluster_options: bucket=mine must be bucket=gs://BUCKET"),
            ((*OPTIONS, "spot=1"), "--cluster_options: spot=1 must be spot=true or spot=false"),
            ((*OPTIONS, "spot"), "'spot' is not NAME=VALUE, such as timeout_min=600 or spot=true"),
            ((*OPTIONS, "name=mine"), "a launch of a sweep has no option name; there are config, type, "),
            (OPTIONS, "config is missing (EXPERIMENT: no function get_config(), but get_sweep()"),
            ((*OPTIONS, "config=nowhere.py"), "nowhere.py: no such experiment file"),
        ],
    )
    def test_faults(self, experiment, capsys, options, message):
        assert message.replace("EXPERIMENT", str(experiment)) in self.refused(capsys, experiment, *options)

    def test_options_are_the_launchers(self):
        start = next(iter(launcher._parser()._subparsers._group_actions)).choices["start"]
        known = {option.removeprefix("--") for option in start._option_string_actions if option.startswith("--")}
        assert known == {*VALUES, *FLAGS, "name", "help"}

    def test_names_differ_where_the_launchers_letters_do_not(self, tmp_path):
        variants = {name: change(finetune={"steps": 5 + i}) for i, name in enumerate(("a_b", "a.b", "Ö", "x" * 50))}
        found = launches(Sweep(variants, (0, 1), "a_b"), "7", *self.of_base(tmp_path))
        names = [shlex.split(command)[5] for command in found.values()]
        assert len(set(names)) == 8 and all(re.fullmatch("[a-z][a-z0-9-]*", name) for name in names)
        assert max(map(len, names)) <= LONGEST_NAME and names[2] == "sweep-7-0"
        again = launches(Sweep(variants, (1, 0), "a_b"), "7", *self.of_base(tmp_path))
        assert again == found  # the same names whatever else is asked for

    def of_base(self, folder: Path) -> tuple[Path, dict[str, str]]:
        base = folder / "base.py"
        base.write_text("from realm_jax.config import Config\n\ndef get_config():\n    return Config()\n")
        return base, dict(option.split("=") for option in self.OPTIONS)

    def test_options_make_one_experiment_of_another(self, tmp_path):
        other = change(
            data={"holders": False, "taggers": ("dates", "links")},
            masking={"types": ("name",), "subject": False},
            pretrain={"learning_rate": 1e-7, "probe_queries": 0},
            warm_up={"steps": 0},
            finetune={"bias_correction": True},
        )
        for base, config in ((BASE, other), (other, BASE)):
            words = option_words(base, config)
            assert parse(cli.JOBS["run"], words, base, tmp_path)[0] == config
