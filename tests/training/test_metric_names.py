"""The table of metrics has every name that a stage writes, and no other."""

import ast
import re
from pathlib import Path

import realm_jax
from realm_jax.stages import STAGES
from realm_jax.training.metric_names import ALL, METRICS

ROOT = Path(realm_jax.__file__).parent
NAME = re.compile(r"(loss|optimizer|retrieval|reader|qa|salience|index|probe|tagger|time)/[^\s/]+")
NEVER_WRITTEN = {"salience/kind", "salience/span", "salience/utility"}
"""Figures of a query that a step hands to its task, which writes `salience/<kind>` in their place."""


def written() -> set[re.Pattern]:
    """Patterns of the names in the code of stages: a hole of an f-string is any word."""
    patterns = set()
    for file in (*ROOT.glob("training/**/*.py"), *ROOT.glob("tagging/*.py")):
        tree = ast.parse(file.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            match node:
                case ast.Constant(value=str(text)) if id(node) not in docstrings | parts:
                    words = [text]
                case ast.JoinedStr(values=values):
                    words = [part.value if isinstance(part, ast.Constant) else "\0" for part in values]
                case _:
                    continue
            if NAME.fullmatch("".join(words)) and "".join(words) not in NEVER_WRITTEN and file.stem != "metric_names":
                patterns.add(re.compile(re.escape("".join(words)).replace("\0", r"[\w<>]*")))
    return patterns


def test_every_name_is_in_the_table_and_no_other():
    patterns = written()
    assert len(patterns) > 20
    assert [pattern.pattern for pattern in patterns if not any(map(pattern.fullmatch, METRICS))] == []
    assert [name for name in METRICS if not any(pattern.fullmatch(name) for pattern in patterns)] == []


def test_each_says_by_which_stages_and_in_a_sentence():
    for name, metric in METRICS.items():
        assert metric.stages == ALL or set(metric.stages) <= set(STAGES), name
        assert metric.meaning.endswith("."), name
