"""Pages of the site that are made from something else: the README and its like, the notebook, and the reference of
options and metrics, which comes from the code. MkDocs calls `on_files` (`hooks` in mkdocs.yml).
"""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_type_hints

from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

from realm_jax.config import Config
from realm_jax.settings import First, InputFile, Machine, Part, Range, ShapesData, flatten, help_texts, marked
from realm_jax.training.metric_names import METRICS

ROOT = Path(__file__).parents[1]
BESIDE_DOCS = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
MOVED = BESIDE_DOCS | {"docs/tour.ipynb": "tour.md"}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)|(!\[[^\]]*\])\(docs/([^)\s]+)\)")
MARKS = {First: "first", Machine: "may change", InputFile: "file", ShapesData: "shapes data"}


def on_files(files: Files, config: Any) -> Files:
    for path, content in pages():
        files.append(File.generated(config, path, content=content))
    return files


def pages() -> Iterator[tuple[str, str | bytes]]:
    """(path in the site, content) of each page, and of the notebook's pictures."""
    for name, path in BESIDE_DOCS.items():
        yield path, LINK.sub(_moved, (ROOT / name).read_text())
    tour, resources = MarkdownExporter().from_filename(str(ROOT / "docs/tour.ipynb"))
    yield from {"tour.md": tour, **resources["outputs"]}.items()
    yield "reference/options.md", options()
    yield "reference/metrics.md", metrics()


def options() -> str:
    """A section for each group, with a table of its options."""
    lines = [
        "# Options",
        "`realm run factbook --help-all` prints these with the values of your experiment. Set them on the command "
        "line, as in `--pretrain.steps 100`, or in an experiment file: `Pretrain(steps=100)`.",
        "*first*: try these before others. *may change*: you may give another value when a run goes on. *file*: names "
        "a file or folder that a job reads. *shapes data*: prepared data belong to its value.",
        *_group(Config, "", "The experiment"),
    ]
    return "\n\n".join(lines) + "\n"


def _group(kind: type[Part], path: str, title: str) -> Iterator[str]:
    hints, annotated = get_type_hints(kind), get_type_hints(kind, include_extras=True)
    yield f"## {title}\n\n{kind.__doc__}"
    values, texts = flatten(Config()), help_texts(Config)
    rows = ["| option | help |", "|---|---|"]
    for field in dataclasses.fields(kind):
        if not dataclasses.is_dataclass(hints[field.name]):
            name = f"{path}{field.name}"
            takes = _takes(hints[field.name], getattr(annotated[field.name], "__metadata__", ()))
            told = [f"*{word}*" for mark, word in MARKS.items() if name in marked(Config, mark)]
            facts = "; ".join([takes, f"default `{values[name]!r}`", *told])
            rows.append(f"| `{name}` | {_cell(texts.get(name, ''))}<br>{facts} |")
    yield "\n".join(rows)
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _group(hints[field.name], f"{path}{field.name}.", f"{path}{field.name}")


def _takes(hint: Any, marks: tuple[Any, ...]) -> str:
    kind = getattr(hint, "__origin__", hint)
    if kind is Literal:
        return ", ".join(f"`{choice or repr(choice)}`" for choice in hint.__args__)
    words = f"several {hint.__args__[0].__name__}" if kind is tuple else kind.__name__
    return ", ".join([words, *(str(mark) for mark in marks if isinstance(mark, Range))])


def metrics() -> str:
    """A table of every name in metrics.jsonl."""
    rows = [f"| `{name}` | {', '.join(metric.stages)} | {_cell(metric.meaning)} |" for name, metric in METRICS.items()]
    text = """# Metrics

Each line of `<workdir>/<stage>/metrics.jsonl` is a JSON object with `step`, `time` (seconds since the stage began) and
some of these. Figures of learning are means over the steps since the last line. Those under `index/` and `time/` are
the worst of them. [Operations](../operations.md#metrics) tells how you look at them.

| name | stages | meaning |
|---|---|---|
"""
    return text + "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")


def _moved(match: re.Match[str]) -> str:
    """A link of a page beside docs/, as the site has it; one to a file that is no page becomes its text."""
    text, target, picture, file = match.groups()
    if picture:
        return f"{picture}({file})"
    path, _, anchor = target.partition("#")
    path = MOVED.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else "")
    return f"[{text}]({path}{'#' if anchor else ''}{anchor})" if path else text
