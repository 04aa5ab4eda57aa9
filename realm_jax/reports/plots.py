"""Curves as SVG inside a page: colours are the page's CSS variables, so that light, dark and print all work.

Text stays text (it can be selected, and takes the page's font), there is no script, and equal data give equal bytes.
"""

import dataclasses
import html
import io
import re
from collections.abc import Sequence

import numpy as np

# Matplotlib needs real colours while it draws; these stand for CSS variables and are replaced afterwards.
COLOURS = {"#fe0001": "var(--c1)", "#fe0002": "var(--c2)", "#fe0003": "var(--c3)", "#fe0004": "var(--c4)"}
INK, FAINT, GRID = "#fe0011", "#fe0012", "#fe0013"
VARIABLES = COLOURS | {INK: "var(--ink)", FAINT: "var(--faint)", GRID: "var(--line)"}
LINES = ("-", "--", ":", "-.")  # told apart without colour too
WIDTH, HEIGHT = 360, 178  # in the units of the viewBox, about CSS pixels on a phone
MOST_POINTS = 400

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "realm_jax",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.xmargin": 0.01,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "lines.solid_capstyle": "round",
}


@dataclasses.dataclass(frozen=True)
class Curve:
    """Values over steps. A smoothed curve shows its raw points thinly behind; one that is not has a dot per point."""

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    smooth: bool = True
    stairs: bool = False


def draw(
    curves: Sequence[Curve],
    description: str,
    *,
    name: str,
    marks: Sequence[int] = (),
    zero: bool = False,
    across: str = "step",
) -> str:
    """An `<svg>` element.

    Args:
      curves: at most four; empty ones are passed over.
      description: the words of a screen reader.
      name: unique in the page; its ids begin with it.
      marks: steps that get a thin vertical line.
      zero: whether the value 0 is always in sight and has a line.
      across: the label of the horizontal axis.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72))
        figure.subplots_adjust(left=0.115, right=0.97, top=0.965, bottom=0.17)
        axes = figure.add_subplot()
        for mark in marks:
            axes.axvline(mark, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        for curve, colour, line in zip(curves, COLOURS, LINES, strict=False):
            _draw_curve(axes, curve, colour, line)
        if zero:
            axes.axhline(0, color=FAINT, linewidth=0.9, zorder=1)
        axes.set_xlabel(across, labelpad=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        buffer = io.StringIO()
        FigureCanvasSVG(figure).print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Type": None, "Format": None}
        )
    return _inline(buffer.getvalue(), description, name)


def smoothed(values: np.ndarray) -> np.ndarray:
    """A moving average over a tenth of the points, centred; at the ends over the part of it that is there."""
    half, at = max(1, len(values) // 20), np.arange(len(values))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[high] - sums[low]) / (high - low)


def thinned(steps: Sequence[int], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Means of equal stretches, where there are more points than a screen shows."""
    steps, values = np.asarray(steps, float), np.asarray(values, float)
    size = -(-len(steps) // MOST_POINTS)
    if size <= 1:
        return steps, values
    starts = np.arange(0, len(steps), size)
    counts = np.diff(np.append(starts, len(steps)))
    return np.add.reduceat(steps, starts) / counts, np.add.reduceat(values, starts) / counts


def _draw_curve(axes, curve: Curve, colour: str, line: str) -> None:
    if not len(curve.steps):
        return
    if curve.stairs:
        axes.plot(curve.steps, curve.values, color=colour, linestyle=line, linewidth=1.6, drawstyle="steps-post")
    elif curve.smooth and len(curve.steps) > 20:
        steps, values = thinned(curve.steps, curve.values)
        axes.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35)
        axes.plot(steps, smoothed(values), color=colour, linestyle=line, linewidth=1.8)
    else:
        axes.plot(curve.steps, curve.values, color=colour, linestyle=line, linewidth=1.6, marker="o", markersize=4)


def _inline(svg: str, description: str, name: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.DOTALL)  # a style here would hold for the whole page
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: [^;\"]*", "font-size: 10px", svg)  # as older Matplotlib writes it; the page chooses the family
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    label = html.escape(description, quote=True)
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return head + svg[svg.index(">") + 1 :].strip()
