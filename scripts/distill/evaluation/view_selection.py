"""View selection by measurement (Data Distillation, section 4): AP under single views and under growing sets.

A set grows by the view that raises AP most, until some additions in a row have not raised it any more. Every
set is merged by the very code and options that make labels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from distill.datasets.coco import Coco
from distill.datasets.dataset_file import read_dataset
from distill.evaluation.average_precision import evaluate
from distill.evaluation.plots import METADATA, STYLE
from distill.files import replacing, write_text
from distill.predictions.merge import Options
from distill.predictions.merge_files import merge_files, task_of
from distill.predictions.views import View
from distill.program import UserError, log

METRICS = ("AP", "AP50", "AP75")
Views = tuple[str, ...]
Measure = Callable[[Sequence[Views]], list[dict[str, float | None]]]


@dataclass(frozen=True)
class Selection:
    """What was measured, and the set of views that was found.

    frame: a row for each set that was measured: `set` "alone" or "growing", `views` their number, `view` the
        one, or the one added last, METRICS in percent.
    best: the views of the growing set of the highest AP, in the order in which they were added.
    """

    frame: pd.DataFrame
    best: Views


def by_shard(paths: Sequence[Path]) -> dict[str, dict[str, list[Path]]]:
    """Shard → view → files, of prediction files …/{view}/{shard}.json or .h5 (or …/{view}@{model}/…).

    Raises UserError where a shard lacks a view that another one has.
    """
    shards: dict[str, dict[str, list[Path]]] = {}
    for path in paths:
        view = View.parse(path.parent.name.partition("@")[0]).name
        shards.setdefault(path.stem, {}).setdefault(view, []).append(path)
    views = {view for files in shards.values() for view in files}
    for shard, files in shards.items():
        if missing := views - set(files):
            raise UserError(f"shard {shard} has no predictions under {min(missing)}")
    return shards


def measure(
    views: Views, shards: Mapping[str, Mapping[str, list[Path]]], dataset: Coco, options: Options
) -> dict[str, float | None]:
    """Merges the predictions under some views and evaluates them.

    Where the use of scales depends on size, a set with views on only one side of plain serves all sizes.

    views: names.
    shards: of `by_shard`.
    dataset: annotated COCO dict.
    options: of merging.

    Returns METRICS as fractions of 1.
    """
    if not options.serves_all_sizes(map(View.parse, views)):
        options = replace(options, size_dependent=None)
    chosen = [[path for view in views for path in files[view]] for files in shards.values()]
    records = [record for paths in chosen for record in merge_files(paths, dataset, options)]
    metrics = evaluate(dataset, records, task_of(chosen[0]), resampled=False)
    return {name: metrics[name] for name in METRICS}


@contextmanager
def measuring(
    paths: Sequence[Path], dataset: Path, options: Options, processes: int
) -> Iterator[tuple[list[str], Measure]]:
    """Opens processes that measure sets of views side by side.

    paths: prediction files of all views and shards.
    dataset: JSON of the annotated dataset.
    options: of merging.
    processes: how many sets are measured at a time.

    Yields the names of the views, and the function that measures sets.
    Raises UserError as `by_shard`.
    """
    shards = by_shard(paths)
    one = partial(measure, shards=shards, dataset=read_dataset(dataset), options=options)
    with ProcessPoolExecutor(processes, initializer=log.setLevel, initargs=("WARNING",)) as pool:
        yield list(next(iter(shards.values()))), lambda sets: list(pool.map(one, sets))


def select(views: Sequence[str], measure: Measure, patience: int = 3) -> Selection:
    """Measures each view alone, then grows a set from the best one.

    views: names; of views that are equally good, the first is taken.
    measure: of `measuring`.
    patience: so many additions in a row that do not raise the highest AP end the growing.
    """
    rows: list[dict[str, Any]] = []

    def row(kind: str, chosen: Views, metrics: Mapping[str, float | None]) -> dict[str, Any]:
        values = {name: None if value is None else 100 * value for name, value in metrics.items()}
        log.info("%s %s: AP %s", kind, " ".join(chosen), values["AP"])
        return {"set": kind, "views": len(chosen), "view": chosen[-1], **values}

    def ap(metrics: Mapping[str, float | None]) -> float:
        return -1 if metrics["AP"] is None else metrics["AP"]

    sets: list[Views] = [(view,) for view in views]
    found = measure(sets)
    rows += [row("alone", chosen, metrics) for chosen, metrics in zip(sets, found, strict=True)]
    best: Views = ()
    highest, stale = -2.0, 0
    while True:
        chosen, metrics = max(zip(sets, found, strict=True), key=lambda pair: ap(pair[1]))
        rows.append(row("growing", chosen, metrics))
        best, highest, stale = (
            (chosen, ap(metrics), 0) if ap(metrics) > highest else (best, highest, stale + 1)
        )
        sets = [(*chosen, view) for view in views if view not in chosen]
        if not sets or stale == patience:
            return Selection(pd.DataFrame(rows), best)
        found = measure(sets)


def markdown(selection: Selection, dataset: str) -> str:
    """Both tables, and the best set as an entry of the study's configuration."""
    frame = selection.frame.astype(dict.fromkeys(METRICS, float))
    alone = frame[frame["set"] == "alone"].sort_values("AP", ascending=False, kind="stable")
    growing = frame[frame["set"] == "growing"].assign(gain=lambda f: f["AP"].diff())
    highest = growing["AP"].max()

    def table(part: pd.DataFrame, columns: dict[str, str]) -> str:
        lines = ["| " + " | ".join(columns.values()) + " |", "| --- |" + " ---: |" * (len(columns) - 1)]
        for values in part[list(columns)].itertuples(index=False):
            cells = ("" if pd.isna(v) else f"{v:.1f}" if isinstance(v, float) else str(v) for v in values)
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join(lines)

    metrics = {name: name for name in METRICS}
    return "\n\n".join(
        [
            f"Each view alone, on {dataset}:",
            table(alone, {"view": "view", **metrics}),
            "The set grows by the view that raises AP most:",
            table(growing, {"view": "added", "views": "views", **metrics, "gain": "gain"}),
            f"The highest AP, {highest:.1f}, against {alone['AP'].max():.1f} of the best view alone:",
            f"```yaml\nviews:\n  chosen: [{', '.join(selection.best)}]\n```",
            f"The set was chosen on {dataset}: its AP there is no longer a test of it.\n",
        ]
    )


def plot(selection: Selection) -> Figure:
    """AP of single views by their scale, and of the growing set by the number of its views."""
    frame = selection.frame.astype({"AP": float})
    views = [View.parse(name) for name in frame["view"]]
    with rc_context({**STYLE, "font.size": 9}):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for flip, marker, label in ((False, "o", "as it is"), (True, "D", "mirrored")):
            rows = [s == "alone" and v.flip == flip for s, v in zip(frame["set"], views, strict=True)]
            scales = [view.scale for view, row in zip(views, rows, strict=True) if row]
            left.plot(scales, frame["AP"][rows], marker, label=label, fillstyle="none")
        left.set(title="one view", xlabel="shorter side in pixels", ylabel="AP")
        left.legend()
        growing = frame[frame["set"] == "growing"]
        right.plot(growing["views"], growing["AP"], "o-")
        best = len(selection.best)
        right.plot(
            [best], growing["AP"][growing["views"] == best], "o", markersize=10, fillstyle="none", color="C3"
        )
        right.set(title="the growing set", xlabel="views")
        right.xaxis.get_major_locator().set_params(integer=True)
    return figure


def write(selection: Selection, dataset: str, output: Path) -> None:
    """Writes `output` (.csv, full precision), and the same as .md and as .svg beside it."""
    write_text(output, selection.frame.to_csv(index=False))
    write_text(output.with_suffix(".md"), markdown(selection, dataset))
    with replacing(output.with_suffix(".svg")) as temporary, rc_context(STYLE):
        plot(selection).savefig(temporary, format="svg", metadata=METADATA["svg"])
