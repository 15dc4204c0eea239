"""Charts of the report as inline SVG that takes its text colour and font from the page (light and dark)."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.typing import RcKeyType
from numpy.typing import ArrayLike

from distill.evaluation import plots
from distill.evaluation.plots import literal

INK = "#010203"  # replaced by the colour of the page's text
STYLE: dict[RcKeyType, Any] = {
    **plots.STYLE,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
}
LINES = ("#2f7ed8", "#e0681f", "#2a9d6f", "#b5489b", "#8a6d3b", "#7a6ff0", "#c43c3c", "#5f7d8c")
KEPT, LEFT = "#2f7ed8", "#9aa4ad"
SMALL, WIDE = (3.6, 2.4), 4.4  # inches


@contextmanager
def _drawing(width: float = WIDE, height: float = 2.8) -> Iterator[tuple[Figure, Axes]]:
    """A figure of so many inches and its axes, in the style of the page."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots()


def histogram(name: str, scores: ArrayLike, threshold: float | None) -> Markup:
    """A histogram of scores; those that the threshold keeps are coloured."""
    values = np.asarray(scores, float)
    span = (min(0.0, values.min(initial=0.0)), max(1.0, values.max(initial=1.0)))
    heights, edges = np.histogram(values, bins=50, range=span)
    with _drawing(*SMALL) as (figure, axes):
        axes.stairs(heights, edges, fill=True, color=LEFT)
        if threshold is not None:
            kept = np.histogram(values[values >= threshold], bins=edges)[0]
            axes.stairs(kept, edges, fill=True, color=KEPT)
            axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
        axes.set(title=literal(name), xlim=span, xlabel="score")
        if heights.max() > 20:
            _log_axis(axes, (1, 10) if heights.max() > 1000 else (1, 2, 5))
            axes.set_ylim(bottom=0.7)
        return to_svg(figure, f"Histogram of the scores of {name} with the calibrated threshold")


def curves(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    title: str,
    across: str = "iteration",
    points: Mapping[str, tuple[float, float]] | None = None,
    marked: bool = False,
) -> Markup:
    """Lines in one chart.

    series: name → (x, y); values that are not finite are gaps.
    across: what the x axis is called.
    points: name → (x, y) of dots.
    marked: whether each value of a line is marked.
    """
    with _drawing() as (figure, axes):
        marks: dict[str, Any] = {"marker": "o", "markersize": 4} if marked else {}
        for index, (name, (x, y)) in enumerate(series.items()):
            colour, style = LINES[index % len(LINES)], plots.STYLES[index // len(LINES) % len(plots.STYLES)]
            axes.plot(x, y, style, label=literal(name), color=colour, linewidth=1.4, **marks)
        for name, (x, y) in (points or {}).items():
            axes.plot([x], [y], "o", label=literal(name), color=INK, markersize=6)
        axes.set(title=literal(title), xlabel=across)
        plots.legend(axes, 8)
        return to_svg(figure, title)


def drawn(draw: Callable[[Axes], None], title: str) -> Markup:
    """A chart of what `draw` draws on its axes: a plot of `distill.evaluation.plots`."""
    with _drawing() as (figure, axes):
        draw(axes)
        axes.set_title(literal(title))
        return to_svg(figure, title)


def bars(
    groups: Mapping[str, Sequence[float | None]],
    names: Sequence[str],
    title: str,
    colours: Sequence[str] = LINES,
) -> Markup:
    """Horizontal bars: for each name one of each group.

    groups: what a group is called → its values in the order of `names`.
    """
    height, y = 0.8 / len(groups), np.arange(len(names))
    inches = 0.9 + len(names) * max(0.2, 0.11 * len(groups) + 0.08)
    with _drawing(height=inches) as (figure, axes):
        for index, ((name, values), colour) in enumerate(zip(groups.items(), cycle(colours), strict=False)):
            lengths, label = [np.nan if value is None else value for value in values], literal(name)
            axes.barh(y + (index + 0.5) * height - 0.4, lengths, height * 0.9, label=label, color=colour)
        axes.set_yticks(y, [literal(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        figure.suptitle(title, fontsize=9)  # above the names too, which may leave the axes little room
        axes.grid(axis="y", visible=False)
        figure.legend(fontsize=8, loc="outside lower center", ncols=min(4, len(groups)))
        return to_svg(figure, title)


def distribution(what: str, counted: Mapping[str, Sequence[int]]) -> Markup:
    """How often each count occurs, as a share. All counts above their 99th percentile are drawn as one.

    what: what is counted, for the x axis.
    counted: name of a line → its counts.
    """
    last = int(max(np.quantile(counts, 0.99) for counts in counted.values()))
    step = -(-(last + 1) // 40)
    edges = np.arange(0, last + 1 + step, step) - 0.5
    with _drawing(*SMALL) as (figure, axes):
        for index, (name, counts) in enumerate(counted.items()):
            share = np.histogram(np.minimum(counts, last), edges)[0] / len(counts)
            label, colour = f"{literal(name)}: mean {np.mean(counts):.2f}", LINES[index]
            axes.stairs(share, edges, label=label, color=colour, linewidth=1.4)
            if index == 0:
                axes.stairs(share, edges, fill=True, color=colour, alpha=0.15)
        axes.set(title=what, xlim=(edges[0], edges[-1]), ylim=(0, 1.35 * axes.get_ylim()[1]))
        axes.legend(fontsize=8)
        return to_svg(figure, what)


def _log_axis(axes: Axes, numbers: Sequence[float]) -> None:
    """A logarithmic y axis with plain numbers, those given for 1 to 10."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=numbers, numticks=20))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def to_svg(figure: Figure, label: str) -> Markup:
    """A figure as an `<svg>` that scales with its container; `label` is what a screen reader says.
    Deterministic: no date, no ids that clash."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    svg = ElementTree.fromstring(buffer.getvalue())
    for parent in list(svg.iter()):
        for child in list(parent):
            if _bare(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in svg.iter():
        element.tag = _bare(element.tag)
        element.attrib = {_bare(key): _to_page(value) for key, value in element.items()}
        if element.tag == "g":
            element.attrib.pop("id", None)
    width, height = (figure.get_size_inches() * 72).round()
    svg.attrib = {
        "class": "chart",
        "viewBox": f"0 0 {width:g} {height:g}",
        "style": f"max-width:{width * 1.5:g}px",
        "role": "img",
        "aria-label": label,
    }
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _bare(name: str) -> str:
    """A name of XML without its namespace, which HTML does not have."""
    return name.rpartition("}")[2]


def _to_page(value: str) -> str:
    """An attribute with the colour and the font of the page, in one line."""
    value = " ".join(value.split()).replace(INK, "currentColor")
    return re.sub(r"font-family: [^;]*", "font-family: inherit", value)
