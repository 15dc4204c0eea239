"""Charts of the report as inline SVG that takes its text colour and font from the page (light and dark)."""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

INK = "#010203"  # replaced by the colour of the page's text
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "distill",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    "grid.color": INK,
}
LINES = ("#2f7ed8", "#e0681f", "#2a9d6f", "#b5489b", "#8a6d3b", "#7a6ff0", "#c43c3c", "#5f7d8c")
KEPT, LEFT = "#2f7ed8", "#9aa4ad"


def histograms(panels: Sequence[tuple[str, Sequence[float], float | None]]) -> Markup:
    """Score histograms of (name, scores, threshold) side by side; what is kept is coloured."""
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * columns, 2.1 * rows), layout="constrained")
        for axes, (name, scores, threshold) in zip(
            figure.subplots(rows, columns, squeeze=False).flat, panels, strict=False
        ):
            values = np.asarray(scores, float)
            span = (min(0.0, values.min(initial=0.0)), max(1.0, values.max(initial=1.0)))
            heights, edges = np.histogram(values, bins=50, range=span)
            axes.stairs(heights, edges, fill=True, color=LEFT)
            if threshold is not None:
                kept = np.histogram(values[values >= threshold], bins=edges)[0]
                axes.stairs(kept, edges, fill=True, color=KEPT)
                axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
            axes.set(title=name, xlim=span)
            if heights.max() > 20:
                _log_axis(axes)
                axes.set_ylim(bottom=0.7)
        for axes in figure.axes[len(panels) :]:
            axes.remove()
        figure.supxlabel("score", size=9)
        return to_svg(figure, "Histogram of prediction scores with the calibrated threshold")


def curves(series: Mapping[str, tuple[Sequence[float], Sequence[float]]], title: str, log_y: bool) -> Markup:
    """Lines by training iteration: name → (iterations, values). Non-finite values are gaps."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 2.9), layout="constrained")
        axes = figure.subplots()
        for index, (name, (iterations, values)) in enumerate(series.items()):
            axes.plot(iterations, values, label=name, color=LINES[index % len(LINES)], linewidth=1.4)
        axes.set(title=title, xlabel="iteration")
        if log_y:
            _log_axis(axes)
        axes.legend(fontsize=8, ncols=1 + (len(series) > 6))
        return to_svg(figure, title)


def _log_axis(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers: 1, 2, 5, 10."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def smooth(values: Sequence[float], points: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Of at most `points` equal blocks of values (n ≥ 1): middle indices, means of what is finite."""
    array = np.asarray(values, float)
    blocks = np.array_split(np.arange(len(array)), min(points, len(array)))
    finite = [array[b][np.isfinite(array[b])] for b in blocks]
    means = np.array([values.mean() if len(values) else np.nan for values in finite])
    return np.array([b[len(b) // 2] for b in blocks]), means


def to_svg(figure: Figure, label: str) -> Markup:
    """A figure as an `<svg>` that scales with its container. Deterministic: no date, no ids that clash."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", buffer.getvalue(), flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg).replace("xlink:href", "href").replace(INK, "currentColor")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    width, height = (figure.get_size_inches() * 72).round()
    head = (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" style="max-width:{width * 1.5:g}px" '
        f'role="img" aria-label="{label}">'
    )
    return Markup(re.sub(r"^.*?<svg[^>]*>", head, svg, count=1, flags=re.DOTALL))
