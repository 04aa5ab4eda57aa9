import re
import subprocess
import sys
from pathlib import Path

import pytest

from realm_jax.config import Config, Pretrain
from realm_jax.config.experiment_file import find, load_experiment, load_sweep
from realm_jax.errors import UserError

HEADER = "from realm_jax.config import Config, Pretrain\n"


@pytest.fixture
def write(tmp_path):
    def write_file(text: str, name: str = "mine.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write_file


def test_gives_the_config(write):
    path = write(HEADER + "def get_config():\n  return Config(name='a', pretrain=Pretrain(steps=7))\n")
    assert load_experiment(path) == Config(name="a", pretrain=Pretrain(steps=7))


def test_variant_imports_its_base_and_leaves_no_trace(write):
    write(HEADER + "def get_config():\n  return Config(seed=3)\n", "the_base.py")
    path = write("import the_base\ndef get_config():\n  return the_base.get_config()\n", "variant.py")
    before, folders = set(sys.modules), list(sys.path)
    assert load_experiment(path).seed == 3
    assert not {"the_base", "variant"} & (set(sys.modules) - before)
    assert sys.path == folders


def test_neighbours_of_two_folders_do_not_mix(write, tmp_path):
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        write(HEADER + f"def get_config():\n  return Config(seed={seed})\n", f"{seed}/base.py")
        write("from base import get_config\n", f"{seed}/variant.py")
    assert [load_experiment(tmp_path / folder / "variant.py").seed for folder in "12"] == [1, 2]


@pytest.mark.parametrize("end", ["sys.exit()", "sys.exit(0)", "sys.exit('no')", "exit()", "raise SystemExit(3)"])
@pytest.mark.parametrize("place", ["import sys\n{}\n", "import sys\ndef get_config(): {}\n"])
def test_one_that_ends_python_is_a_mistake(write, place, end):
    path = write(place.format(end))
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}:2: ends Python .*must return"):
        load_experiment(path)


def test_a_shipped_base_is_imported_from_anywhere_and_leaves_no_trace(write):
    """But for one of that name in the variant's own folder; what a shipped one imports is shipped too."""
    path = write("import factbook_paper\ndef get_config():\n  return factbook_paper.get_config()\n")
    before, folders = set(sys.modules), list(sys.path)
    assert load_experiment(path) == load_experiment(Path("factbook_paper"))
    assert not {"factbook", "factbook_paper", "ablations"} & (set(sys.modules) - before)
    assert sys.path == folders
    write(HEADER + "def get_config():\n  return Config(seed=3)\n", "factbook_paper.py")
    assert load_experiment(path).seed == 3


def test_a_name_is_that_of_a_shipped_file_unless_a_file_is_called_so(write, monkeypatch):
    folder = write(HEADER + "def get_config():\n  return Config(seed=3)\n", "factbook").parent
    assert load_experiment(Path("factbook")).name == "factbook"
    monkeypatch.chdir(folder)
    assert load_experiment(Path("factbook")).seed == 3
    with pytest.raises(UserError, match=r"^elsewhere/factbook: no such experiment file; did you mean factbook "):
        find(Path("elsewhere/factbook"))


def test_module_of_the_same_name_stays(write):
    before = sys.modules["json"]
    load_experiment(write(HEADER + "def get_config():\n  return Config()\n", "json.py"))
    assert sys.modules["json"] is before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = (\n", r"mine\.py:2: syntax error: '\(' was never closed"),
        (
            "\nimport no_such_module\n",
            r"mine\.py:2: ModuleNotFoundError: No module named 'no_such_module'; .* what is installed$",
        ),
        (
            "def get_sweep(): ...",
            r"no function get_config\(\), but get_sweep\(\): `realm sweep .*mine\.py` runs that",
        ),
        ("def config():\n  pass\n", r"mine\.py: no function get_config\(\)"),
        ("get_config = 3\n", r"mine\.py: no function get_config\(\)"),
        ("def get_config():\n  return {}\n", r"get_config\(\) gave a dict; it must return realm_jax.config.Config"),
        (
            HEADER + "def get_config():\n\n  return Config(pretrain=Pretrain(steps=-3))\n",
            r"mine\.py:4: pretrain\.steps: -3 is out of range; it must be at least 0",
        ),
    ],
)
def test_what_is_wrong_is_named(write, text, message):
    with pytest.raises(UserError, match=message):
        load_experiment(write(text))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("Config(pretrain=Pretrain(stepz=3))", r"mine\.py:3: TypeError: .*'stepz'[;.] [Dd]id you mean 'steps'\?"),
        ("Config(qqqq=3)", r"mine\.py:3: TypeError: .*'qqqq'; Config has name, seed, data"),
    ],
)
def test_option_that_is_not_there_is_named(write, call, message):
    """In a process of its own: type checking, on in this one, words such errors in its own way."""
    path = write(HEADER + f"def get_config():\n  return {call}\n")
    command = [sys.executable, "-m", "realm_jax", "prepare", str(path), "--workdir", str(path.parent / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and re.match(f"realm: error: .*{message}", done.stderr)
    assert not (path.parent / "run").exists()


def test_error_in_a_neighbour_is_named_here_and_there(write):
    write("def f():\n  return 1 / 0\n", "helper.py")
    path = write("import helper\ndef get_config():\n  return helper.f()\n")
    line = path.read_text().splitlines().index("  return helper.f()") + 1
    with pytest.raises(UserError, match=rf"{path}:{line} \(by .*helper\.py:2\): ZeroDivisionError"):
        load_experiment(path)


def test_a_missing_name_names_near_ones():
    with pytest.raises(UserError, match=r"^factbok: no such experiment file; did you mean factbook( or \w+)*\?$"):
        load_sweep(Path("factbok"))
    with pytest.raises(UserError, match=r"^qqqq: no such .*; nor is it a workdir, .* lists shipped ones$"):
        load_experiment(Path("qqqq"))


def test_missing_file_names_near_ones(write):
    path = write("", "factbook.py")
    with pytest.raises(UserError, match=r"factbok\.py: no such experiment file; did you mean .*factbook\.py"):
        load_experiment(path.with_name("factbok.py"))
