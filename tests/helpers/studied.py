"""The artifacts of a study with two categories and hidden labels, made without any training.

Predictions are the truth, moved a little and scored; everything behind them is made by the library.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.datasets.fingerprints import fingerprints
from distill.evaluation import table_text, tables
from distill.evaluation.average_precision import evaluate
from distill.files import read_json, write_json
from distill.labels.calibrate import calibrate
from distill.labels.generate import generate
from distill.labels.next_images import next_images
from distill.labels.review import doubts, worst_first
from helpers.arrows import draw_dataset
from helpers.options import build, calibrate_options, table_spec

VIEWS = {
    "plain": ["s0096"],
    "small": ["s0080"],
    "two": ["s0080", "s0096"],
    "all": ["s0080", "s0096", "s0096-flip"],
}
ROWS = [("teacher", views) for views in VIEWS] + [("student", "plain")]


def predictions(truth: dict, noise: float, seed: int) -> list[dict]:
    """COCO results: every instance of the truth with a box and keypoints off by `noise` of its side, and one
    of three invented."""
    rng = np.random.default_rng(seed)
    found = []
    for image in truth["images"]:
        for a in (a for a in truth["annotations"] if a["image_id"] == image["id"]):
            for copy in range(1 + (rng.random() < 1 / 3)):
                x, y, w, h = a["bbox"]
                dx, dy = rng.normal(0, noise, 2) * w + copy * w * 0.8
                box = [x + dx, y + dy, w, h]
                score = round(float(rng.uniform(0.5, 0.99) - 0.4 * copy), 4)
                record = {
                    "image_id": image["id"],
                    "category_id": a["category_id"],
                    "bbox": box,
                    "score": score,
                }
                if a.get("keypoints"):
                    points = np.add(np.reshape(a["keypoints"], (-1, 3)), (dx, dy, 0))
                    points[:, 2] = rng.uniform(0.2, 0.9, len(points))
                    record["keypoints"] = points.ravel().round(3).tolist()
                found.append(record)
    return found


def agreed(found: list[dict], seed: int = 2) -> list[dict]:
    """The same results with how far the views agree, at random."""
    rng = np.random.default_rng(seed)
    for record in found:
        views, overlap, score = rng.uniform(0.5, 1, 3).round(3)
        record["agreement"] = {"views": views, "overlap": overlap, "score": score * record["score"]}
        if count := len(record.get("keypoints", ())) // 3:
            record["agreement"] |= {
                "spread": rng.uniform(0, 9, count).round(2).tolist(),
                "entropy": rng.uniform(0, 5, count).round(3).tolist(),
            }
    return found


def write_evaluation(path: Path, ap: float) -> None:
    """An evaluation …/{model}/{dataset}/{views}.json of keypoints that says no more than AP."""
    names = dict(zip(("model", "dataset", "views"), path.with_suffix("").parts[-3:], strict=True))
    counts = {"images": 3, "predictions": 3, "task": "keypoints"}
    write_json(path, {**names, **counts, "AP": ap, "boxes": {"AP": ap}, "keypoints": {"AP": ap}})


HOSTILE = {
    "arrow": "<script>hacked = 1</script>\"'><img onerror='hacked = 1'> \\d\\g<0>\\1 $\\foo$ | abc",
    "disc": "_font-family: </text>; #010203 xlink:href <style>*{display:none}</style> {{ 7 * 7 }} -->]]>",
    "tip": "$\\frac{<b>\"$",
    "0006.png": "<img src=x onerror=hacked=1> \"'&$\\foo$.png",
    "student (plain)": "_student $\\foo$ | <script>window.hacked = 1</script> \\",
    "number of views": "\"><script>window.hacked = 1</script> $x$ \\d",
}  # fmt: skip


def rename(source: Path, names: Mapping[str, str]) -> None:
    """Gives the categories, keypoints and files of a dataset other names."""
    coco = read_json(source)
    for category in coco["categories"]:
        category["name"] = names.get(category["name"], category["name"])
        category["keypoints"] = [names.get(point, point) for point in category.get("keypoints", [])]
    for image in coco["images"]:
        folder, file = source.parent / "images", image["file_name"]
        image["file_name"] = names.get(file, file)
        (folder / file).rename(folder / image["file_name"])
    source.write_text(json.dumps(coco))


def make(
    folder: Path, images: int = 24, names: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], Path]:
    """The resolved study and its results folder; `names` are other names for what is in it."""
    results, names = folder / "results", names or {}
    source = draw_dataset(folder / "all", images, seed=5)
    rename(source, names)
    specs = {
        "all": {"kind": "coco", "images": str(folder / "all/images"), "annotations": str(source)},
        "labelled": {"kind": "subset", "of": "all", "range": [0, 0.25]},
        "unlabelled": {"kind": "subset", "of": "all", "range": [0.25, 0.75], "strip_annotations": True},
        "val": {"kind": "subset", "of": "all", "range": [0.75, 1]},
    }
    datasets: dict[str, dict] = {}
    for name, spec in specs.items():
        datasets[name] = build(name, spec, datasets)
        write_json(results / f"datasets/{name}.json", datasets[name])
    kept = {image["id"] for image in datasets["unlabelled"]["images"]}
    hidden = [a for a in datasets["all"]["annotations"] if a["image_id"] in kept]
    merged = results / "merged/teacher/unlabelled/all.json"
    truth = datasets["unlabelled"] | {"annotations": hidden}
    write_json(merged, agreed(predictions(truth, 0.05, seed=1)))
    thresholds = calibrate(merged, datasets["unlabelled"], datasets["labelled"], calibrate_options())
    write_json(results / "labels/distilled/thresholds.json", thresholds)
    labels = results / "labels/distilled/annotations.json"
    generate(merged, datasets["unlabelled"], datasets["labelled"], thresholds, labels)
    categories = datasets["labelled"]["categories"]
    table = doubts(merged, datasets["unlabelled"], categories, thresholds)
    review = worst_first(table, datasets["unlabelled"], categories)
    review.to_csv(labels.parent / "review.csv", index=False)
    both = datasets["unlabelled"], datasets["labelled"]
    prints = [list(fingerprints(each, Path(each["info"]["image_root"]))) for each in both]
    following = next_images(table, *both, prints)
    following.to_csv(labels.parent / "next.csv", index=False)
    for seed, (model, views) in enumerate(ROWS):
        found = predictions(datasets["val"], 0.3 if model == "teacher" else 0.1, seed)
        write_json(results / f"merged/{model}/val/{views}.json", found)
        about = {"model": model, "dataset": "val", "views": views}
        metrics = evaluate(datasets["val"], found)
        write_json(results / f"evaluation/{model}/val/{views}.json", {**about, **metrics})
    for model in ("teacher", "student"):
        (results / f"models/{model}").mkdir(parents=True)
        rows = "".join(f"{i},0.1,{9 / i},{6 * i},{4 * i},1.5\n" for i in range(10, 110, 10))
        history = f"iteration,lr,loss,labelled,generated,ratio\n{rows}"
        (results / f"models/{model}/history.csv").write_text(history)
        write_json(results / f"models/{model}/run.json", {"seed": 0, "seconds": 75, "commit": "abcdef"})
    for stage, view, seconds in (
        ("predictions", "s0096", 3661),
        ("predictions", "s0080", 60),
        ("merged", "all", 5),
    ):
        path = results / f"benchmarks/{stage}/teacher/unlabelled/{view}/000.tsv"
        path.parent.mkdir(parents=True)
        path.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t-\t100\n")
    model = {
        "config": "keypoint_rcnn_tiny",
        "task": "keypoints",
        "labelled": "labelled",
        "validation": "val",
        "iterations": 100,
        "init": "none",
    }
    rows = [{"name": f"{model} ({views})", "models": [model], "views": views} for model, views in ROWS]
    for row in rows:
        row["name"] = names.get(row["name"], row["name"])
        row["x"] = len(VIEWS[row["views"]])
        row["evaluations"] = [str(results / f"evaluation/{row['models'][0]}/val/{row['views']}.json")]
    study = {
        "results": str(results),
        "seeds": [0],
        "datasets": specs,
        "views": VIEWS,
        "models": {
            "teacher": model | {"labels": None},
            "student": model | {"labels": "distilled", "ratio": [6, 4]},
        },
        "labels": {
            "distilled": {
                **dict(teacher="teacher", teachers=["teacher"], together="teacher", merge={"boxes": "union"}),
                **dict(dataset="unlabelled", labelled="labelled", views="all", merged="all"),
                "calibrate": {"instances": 1.0},
            }
        },
        "selected": {},
        "evaluate": {"on": ["val"], "views": ["plain"]},
        "tables": {
            "main": table_spec(
                rows=rows, task="keypoints", plot={"x": names.get("number of views", "number of views")}
            )
        },
    }
    table = tables.build(
        study["tables"]["main"], {p: read_json(p) for row in rows for p in row["evaluations"]}
    )
    table_text.write(table, results / "tables/main.csv")
    write_json(results / "study.json", study)
    return study, results
