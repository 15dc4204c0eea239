"""Plots of results: AP by what the rows of a table differ in, and losses of trainings.

Each is drawn on axes that are given, those of a file (`save`) or of a chart in the report.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter
from matplotlib.typing import RcKeyType

from distill.files import open_file, replacing
from distill.program import UserError, cause

POINTS = 100  # of a training curve, each the mean of a part of the training
STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "distill",  # the same figure, the same bytes
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.2,
    "legend.frameon": False,
}
STYLES = ("-", "--", ":", "-.")  # of lines, where there are more than colours
MANY, LINE = 6, 1.5  # names that have room in a chart; the height of one, in sizes of its letters
NAMES = dict.fromkeys(("row", "views", "gain over"), str)  # columns of a table
METADATA = {"svg": {"Date": None}, "png": {"Software": None}}


def literal(text: object) -> str:
    """Text that matplotlib draws as it is: not as a formula between two `$`, nor left out of a legend for the
    `_` that it begins with. Line breaks and other control characters, which no SVG may hold, are spaces."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(text)).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def read_rows(path: str | Path) -> pd.DataFrame:
    """The CSV of a table with a plot. Raises UserError where it is damaged."""
    return _read(path, ("x", "AP", "AP sd"))


def read_history(path: str | Path) -> pd.DataFrame:
    """A training's history.csv. Raises UserError where it is damaged."""
    return _read(path, ("iteration", "loss", "labelled", "generated"))


def _read(path: str | Path, numbers: Sequence[str]) -> pd.DataFrame:
    """A CSV file with these columns of numbers."""
    with open_file(path) as file:
        try:
            # Names that look like numbers, or like none, stay names.
            frame = pd.read_csv(file, dtype=NAMES, keep_default_na=False, na_values=[""])
        except ValueError as error:  # what pandas says of bytes that are no table
            raise UserError(f"{path}: is damaged ({cause(error)}); remove it to have it made again") from None
    if not isinstance(frame.index, pd.RangeIndex):  # rows longer than the header
        raise UserError(
            f"{path}: is damaged (its rows are of several lengths); remove it to have it made again"
        )
    for name in numbers:
        try:
            frame[name] = frame[name].astype(float)
        except (KeyError, ValueError, TypeError):
            message = f"{path}: is damaged (no numbers under {name!r}); remove it to have it made again"
            raise UserError(message) from None
    return frame


def rows(axes: Axes, table: pd.DataFrame, options: Mapping[str, Any]) -> None:
    """AP of the rows of a table that have an x, joined from left to right, with the spread over the seeds as
    bars, and that of the baseline as a line. Rows without AP are left out.

    table: the frame of `tables.build`.
    options: x, what the axis is called, and optionally baseline, the name of a row.
    """
    table = table.dropna(subset="AP")
    points = table.dropna(subset="x").sort_values("x")
    bars = None if points["AP sd"].isna().all() else points["AP sd"]
    axes.errorbar(points["x"], points["AP"], bars, marker="o", capsize=3)
    for row in points.itertuples(index=False):
        axes.annotate(literal(row.row), (row.x, row.AP), (6, -9), textcoords="offset points", fontsize=7)
    for ap in table.loc[table["row"] == options.get("baseline"), "AP"]:
        axes.axhline(ap, linestyle="--", color="C1", label=literal(options["baseline"]))
        axes.legend()
    axes.margins(0.2, 0.15)
    axes.set(xlabel=literal(options["x"]), ylabel="AP (%)")


def losses(axes: Axes, histories: Sequence[tuple[str, pd.DataFrame]]) -> None:
    """Training loss by iteration, and dotted AP, where a training was validated. histories: (name,
    history.csv); one name, of several seeds, has one colour."""
    colours = {name: f"C{index % 10}" for index, name in enumerate(dict.fromkeys(n for n, _ in histories))}
    labelled = set()
    if validated := [(name, aps) for name, history in histories if len(aps := validations(history))]:
        percent = axes.twinx()
        percent.set(ylabel="AP on the validation images (%), dotted")
        percent.grid(visible=False)
        for name, aps in validated:
            percent.plot(aps["iteration"], aps["AP"], "o:", color=colours[name], markersize=3, linewidth=1)
    for name, history in histories:
        if not {"iteration", "loss"} <= set(history):
            raise UserError(f"the history of {name} has no columns iteration and loss; train it again")
        history = history[["iteration", "loss"]].replace([np.inf, -np.inf], np.nan)
        means = history.groupby(np.arange(len(history)) * POINTS // max(len(history), POINTS)).mean()
        style = STYLES[list(colours).index(name) // 10 % len(STYLES)]
        label = None if name in labelled else literal(name)
        axes.plot(means["iteration"], means["loss"], style, color=colours[name], linewidth=1.2, label=label)
        labelled.add(name)
    axes.set(xlabel="iteration", ylabel="training loss", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    legend(axes, 7)


def legend(axes: Axes, size: int) -> None:
    """Names the lines of a chart: many of them below it, which makes it as much higher."""
    handles, names = axes.get_legend_handles_labels()
    figure = axes.get_figure(root=True)
    if len(names) <= MANY or figure is None:
        axes.legend(fontsize=size)
        return
    columns = 3
    figure.set_figheight(figure.get_figheight() + -(-len(names) // columns) * size * LINE / 72)
    figure.legend(handles, names, fontsize=size, ncols=columns, loc="outside lower center")


def validations(history: pd.DataFrame) -> pd.DataFrame:
    """The rows of a history after which the training was validated: iteration, AP in percent."""
    return history.reindex(columns=["iteration", "AP"]).dropna()


@mpl.rc_context(STYLE)
def save(draw: Callable[[Axes], None], path: str | Path) -> None:
    """Writes what `draw` draws at `path`, ….svg, and beside it as ….png."""
    path = Path(path)
    figure = Figure(figsize=(6, 4), layout="constrained")
    draw(figure.subplots())
    for suffix, metadata in METADATA.items():
        with replacing(path.with_suffix(f".{suffix}")) as temporary:
            figure.savefig(temporary, format=suffix, dpi=150, metadata=metadata)
