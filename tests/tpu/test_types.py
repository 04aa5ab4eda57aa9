"""What is said of types: names, workers, and the table of docs/tpu.md."""

from pathlib import Path

import pytest

from realm_jax.errors import UserError
from tpu.types import PAPER, SHOWN, estimate, slice_type, table

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name, devices, workers",
    [
        ("v5e-8", 8, 1),
        ("v5litepod-16", 16, 4),
        ("v6e-8", 8, 1),
        ("v6e-64", 64, 16),
        ("v4-8", 4, 1),
        ("v5p-128", 64, 16),
    ],
)
def test_devices_and_workers(name, devices, workers):
    """As https://cloud.google.com/tpu/docs/v4, /v5e, /v5p and /v6e have them."""
    kind = slice_type(name)
    assert (kind.devices, kind.workers) == (devices, workers)


@pytest.mark.parametrize("name", ["v5e", "v5e-x", "v1-8", ""])
def test_no_such_type(name):
    with pytest.raises(UserError, match="no known type"):
        slice_type(name)


def test_the_sizes_of_the_paper():
    assert PAPER.trunk_params == 109_482_240  # BERT-base, uncased, with its pooler
    # A BERT reads 12 layers: 85 million multiplications a token, and attention over all tokens.
    assert PAPER.forward(1, 1) == 2 * 12 * (4 * 768**2 + 2 * 768 * 3072) + 12 * 4 * 768


def test_more_devices_take_less_time_and_memory():
    for small, large in (("v4-8", "v4-32"), ("v5litepod-8", "v5litepod-64"), ("v6e-8", "v6e-64")):
        less, more = estimate(slice_type(small)), estimate(slice_type(large))
        assert less.hours > more.hours and less.memory > more.memory and less.accumulate >= more.accumulate


def test_the_page_has_the_table_as_it_is_computed():
    page = (ROOT / "docs/tpu.md").read_text()
    assert table() in page and all(f"`{name}`" in page for name in SHOWN)


def test_the_quick_start_is_short():
    page = (ROOT / "docs/tpu.md").read_text()
    block = next(block for block in page.split("\n\n") if block.startswith("    ") and "tpu.launch" in block)
    assert len(block.splitlines()) < 10
