"""Charts of evaluations (precision–recall, categories, views) and of counts per image."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from distill.datasets.coco import Coco, Record, by_image, instances, visible_keypoints
from distill.evaluation.resampling import RECALLS
from distill.report import charts
from distill.report.artifacts import Results

CATEGORIES = 40  # that get bars, at most


def table_charts(results: Results, table: Mapping[str, Any]) -> list[Markup]:
    """Precision–recall and AP by category of the rows of a table."""
    rows = table.get("rows", ())
    shown = {row["name"]: results.evaluations(row["models"][0], row["views"]) for row in rows}
    shown = {name: found for name, found in shown.items() if found}
    named, most, which = list(shown), len(charts.LINES), ""
    if len(named) > most:
        which = f", the first and the last {most - 1} of {len(named)} rows"
        shown = {name: shown[name] for name in [named[0], *named[1 - most :]]}
    return [*precision_recall(shown, which), *per_category(shown)]


def precision_recall(shown: Mapping[str, Sequence[Mapping[str, Any]]], which: str = "") -> list[Markup]:
    """A chart for each overlap (IoU or OKS) from which a prediction counts as right: the mean over the
    categories, then over the seeds.

    shown: name of a line → evaluations, one for each seed; as many as there are colours.
    which: what the title says of them.
    """
    result = []
    for overlap in ("0.5", "0.75"):
        series = {}
        for name, found in shown.items():
            if known := [e["precision"][overlap] for e in found if overlap in e.get("precision", {})]:
                series[name] = (RECALLS, np.mean(known, axis=0))
        if series:
            kind = next(iter(shown.values()))[0]["task"]
            measure = "OKS" if kind == "keypoints" else "IoU"
            result.append(charts.curves(series, f"precision at {measure} {overlap}{which}", across="recall"))
    return result


def per_category(shown: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Markup]:
    """AP of each category, where there are several: of the first row, the last one, and the two before it.

    Of very many categories, those are shown whose AP differs most between the first row and the last.
    """
    means: dict[str, dict[str, float | None]] = {}
    for name, found in shown.items():
        known = [e["per_category"] for e in found if e.get("per_category")]
        if known:
            means[name] = {c: _mean([100 * k[c] for k in known if k.get(c) is not None]) for c in known[0]}
    if not means or len(next(iter(means.values()))) < 2:
        return []
    first, *others = means
    groups = [first, *others[-3:]]
    names = list(means[first])
    title = "AP by category"
    if len(names) > CATEGORIES:
        title = f"AP by category: the {CATEGORIES} of {len(names)} that differ most"
        names.sort(key=lambda c: -abs((means[groups[-1]].get(c) or 0) - (means[first].get(c) or 0)))
        names = names[:CATEGORIES]
    colours = [charts.LINES[list(shown).index(group)] for group in groups]
    values = {group: [means[group].get(c) for c in names] for group in groups}
    return [charts.bars(values, names, title, colours)]


def view_charts(results: Results) -> list[Markup]:
    """AP under single views, and under growing view sets, each of which holds the one before, if evaluated.

    A chart needs two single views, or three growing sets, of one model of the tables.
    """
    sets = sorted(results.study["views"].items(), key=lambda item: len(item[1]))
    rows = [row for table in results.study["tables"].values() for row in table.get("rows", ())]
    singles: dict[str, dict[str, float]] = {}
    growing: dict[str, tuple[list[int], list[float]]] = {}
    for family, members in results.families(row["models"][0] for row in rows).items():
        found = [(views, ap) for name, views in sets if (ap := results.ap(members[0], name)) is not None]
        single = {views[0]: ap for views, ap in found if len(views) == 1}
        if len(single) > 1:
            singles[family] = single
        chains: list[list[tuple[list[str], float]]] = [[]]
        for views, ap in found:
            smaller = (chain for chain in chains if not chain or set(chain[-1][0]) < set(views))
            chains.append([*max(smaller, key=len), (views, ap)])
        longest = max(chains, key=len)
        if len(longest) > 2:
            growing[family] = ([len(views) for views, _ in longest], [ap for _, ap in longest])
    result = []
    if singles:
        names = sorted({view for single in singles.values() for view in single})
        groups = {family: [single.get(view) for view in names] for family, single in singles.items()}
        result.append(charts.bars(groups, names, "AP under a single view"))
    if growing:
        result.append(charts.curves(growing, "AP of growing view sets", across="views", marked=True))
    return result


def counts_beside(datasets: Mapping[str, Mapping[str, Any]]) -> list[Markup]:
    """Instances and keypoints per image, keypoints per instance, of several annotated datasets by name."""
    result = []
    for what, count in COUNTED.items():
        counted = {name: count(dataset) for name, dataset in datasets.items()}
        if counted := {name: values for name, values in counted.items() if any(values)}:
            result.append(charts.distribution(what, counted))
    return result


def _per_image(dataset: Coco, count: Callable[[Record], int]) -> list[int]:
    found = by_image(instances(dataset))
    return [sum(map(count, found.get(image["id"], ()))) for image in dataset["images"]]


def _keypoints_per_instance(dataset: Coco) -> list[int]:
    return [count for a in instances(dataset) if (count := visible_keypoints(a))]


COUNTED: dict[str, Callable[[Coco], list[int]]] = {
    "instances per image, share of images": partial(_per_image, count=lambda _: 1),
    "keypoints per image, share of images": partial(_per_image, count=visible_keypoints),
    "keypoints per instance, share of instances": _keypoints_per_instance,
}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
