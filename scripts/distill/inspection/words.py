"""An artifact in lines of text. Its kind is recognised by its content, not by its path."""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from distill.datasets.stats import describe as statistics
from distill.files import read_json
from distill.predictions import coco_results
from distill.predictions.crop_heatmaps import CropAverage
from distill.predictions.heatmap_file import read_block, read_header
from distill.predictions.heatmaps import softmax2d
from distill.program import UserError
from distill.report.wording import duration, number, plural

SAMPLE = 200  # instances of a heatmap file whose peaks are looked at

# The kinds of JSON artifact, by keys that only they have; the first that fits counts.
KEYS = {
    "prediction shard": {"view", "predictions"},
    "dataset": {"images", "annotations", "categories"},
    "thresholds": {"instances", "keypoints", "images"},
    "statistics": {"instances_per_image", "areas"},
    "evaluation": {"AP", "task"},
    "provenance": {"commit", "versions", "seconds"},
    "split check": {"validation", "training", "shared"},
    "study": {"models", "labels", "tables"},
}
SUFFIXES = {
    ".h5": "heatmap shard",
    ".pth": "checkpoint",
    ".md": "text",
    ".py": "text",
    ".tsv": "text",
    ".log": "text",
}


def resolve(path: Path) -> Path:
    """The artifact that a path stands for: a model's folder is its checkpoint. UserError if there is none."""
    if path.is_dir() and (path / "model.pth").exists():
        return path / "model.pth"
    if path.is_dir():
        raise UserError(f"{path}: a folder; give one file of it (or a model's folder)")
    if not path.exists():
        raise UserError(f"{path}: no such file")
    return path


def kind_of(path: Path) -> tuple[str, Any]:
    """An artifact's kind and, of JSON, its content. Raises UserError for what is none."""
    if path.suffix == ".json":
        with open(path, "rb") as file:  # a large one, which nobody needs at once
            if file.read(1) == b"[":
                return "predictions", None
        content = read_json(path)
        found = (kind for kind, keys in KEYS.items() if isinstance(content, dict) and keys <= content.keys())
        kind = next(found, "JSON")
        generated = kind == "dataset" and dict(content.get("info") or {}).get("kind") == "labels"
        return ("labels" if generated else kind), content
    if path.suffix == ".csv":
        with open(path, encoding="utf-8") as file:
            return ("history" if "loss" in file.readline().split(",") else "text"), None
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix], None
    raise UserError(f"{path}: no artifact of the pipeline that this program knows")


def describe(path: Path) -> list[str]:
    """The lines of text about an artifact. Raises UserError where it is damaged or unknown."""
    with damaged(path):
        kind, content = kind_of(path)
        head = f"{path}: {kind}, {path.stat().st_size / 1e6:.2f} MB"
        return [head, *DESCRIPTIONS[kind](path, content)]


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """What a file that is not as its kind is makes code raise is one line on it."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise UserError(f"{path}: is damaged, or no file of this project ({error!r})") from None


def _heatmaps(path: Path, _: Any) -> Iterable[str]:
    header = read_header(path)
    yield f"model {header.model} on {header.dataset}, view {header.view.name}, not inverted"
    k, (width, height), kind = len(header.keypoint_names), header.layout.cells, header.layout.kind
    cells = f"({width} + {height}) logits of x and y" if kind == "simcc" else f"{height} × {width} {kind}"
    yield f"{plural(header.count, 'instance')} × {k} keypoints × {cells}"
    if not header.count:
        return
    yield f"{number(path.stat().st_size / header.count)} bytes per instance"
    block = read_block(path, 0, SAMPLE)
    yield f"images {block.image_id.min()} … of the first {len(block.score)}; box scores {_span(block.score)}"
    if kind == "logits":
        peaks, what = softmax2d(block.heatmap).max(axis=(-2, -1)), "probability at the peak"
    else:
        average = CropAverage(header.layout, header.flip_pairs, block.region)
        average.add(block.maps, header.view, block.region)
        peaks, what = average.keypoints()[1], "score"
    yield f"mean {what}, over the first {plural(len(block.score), 'instance')}:"
    yield from (
        f"  {name:<16} {peak:.3f}" for name, peak in zip(header.keypoint_names, peaks.mean(0), strict=True)
    )


def _shard(path: Path, content: Mapping[str, Any]) -> Iterable[str]:
    yield f"model {content['model']} on {content['dataset']}, view {content['view']}, not inverted"
    first = content["images"][0] if content["images"] else None
    if first:
        yield "image {id}: {width} × {height}, in the view {view_width} × {view_height}".format(**first)
    yield from _records(path, "predictions", len(content["images"]))


def _predictions(path: Path, _: Any) -> Iterable[str]:
    yield "COCO results, in the pixels of the original images"
    yield from _records(path, None, None)


def _records(path: Path, key: str | None, images: int | None) -> Iterable[str]:
    """Of a file of COCO results, read a block at a time. key: as of `coco_results.read_lines`."""
    seen: set[int] = set()
    counts: Counter[int] = Counter()
    scores, points = [np.zeros(0)], [np.zeros(0, np.float32)]
    for block in coco_results.read_lines(path, key)[1]:
        found = coco_results.decode(path, block, coco_results.Prediction)
        image_id, category_id, score, _ = coco_results.columns(found)
        seen.update(image_id.tolist())
        counts.update(category_id.tolist())
        scores.append(score)
        points.append(np.array([v for p in found if p.keypoints for v in p.keypoints[2::3]], np.float32))
    total = sum(counts.values())
    yield f"{plural(total, 'prediction')} on {number(len(seen))}" + (
        f" of {plural(images, 'image')}" if images is not None else " images"
    )
    if total:
        yield f"scores {_span(np.concatenate(scores))}"
        yield "by category id: " + ", ".join(f"{key}: {number(n)}" for key, n in sorted(counts.items()))
    if len(of_points := np.concatenate(points)):
        yield f"keypoint scores {_span(of_points)}"


def _dataset(path: Path, content: Mapping[str, Any]) -> Iterable[str]:
    info = content.get("info", {})
    yield f"{info.get('description') or 'COCO file'}, images in {info.get('image_root', 'an unknown folder')}"
    real = [{"iscrowd": 0, "area": 0, **a} for a in content["annotations"]]
    yield from _statistics(path, statistics({**content, "info": info, "annotations": real}))
    for what, count in (info.get("repaired") or {}).items():
        yield f"repaired: {number(count)} {what}"
    if scores := [a["score"] for a in real if "score" in a]:
        yield f"generated, scores {_span(scores)}"
    for category in content["categories"]:
        if category.get("keypoints"):
            yield f"keypoints of {category['name']}: {', '.join(category['keypoints'])}"


def _statistics(path: Path, content: Mapping[str, Any]) -> Iterable[str]:
    without = content["images_without_instances"]
    yield f"{plural(content['images'], 'image')}, {number(without)} without any instance"
    yield (
        f"{plural(content['instances'], 'instance')}, {number(content['instances_per_image'], 2)} per image; "
        f"{number(content['crowds'])} crowds"
    )
    if content["keypoints_per_instance"] is not None:
        yield f"{content['keypoints_per_instance']:.2f} keypoints per instance that has any"
    yield "by size: " + ", ".join(f"{name} {number(count)}" for name, count in content["areas"].items())
    for category in content["categories"]:
        yield f"  {category['name']:<16} {number(category['instances'])}"
    if content["skipped"]:
        yield f"{plural(content['skipped'], 'image')} left out as unreadable"


def _thresholds(path: Path, content: Mapping[str, Any]) -> Iterable[str]:
    yield "from {labelled} labelled to {unlabelled} unlabelled images".format(**content["images"])
    rows = list(content["instances"].values())
    if content["keypoints"]:
        rows.append({"name": "keypoints", **content["keypoints"]})
    for row in rows:
        threshold = "nothing is kept" if row["threshold"] is None else f"score ≥ {row['threshold']:.4f}"
        met = f"{number(row['met'])} of {number(row['candidates'])} candidates"
        means = f"mean {row['mean_met']:.2f}, labelled {row['mean_labelled']:.2f}"
        short = ", too few candidates: all taken" if row["short"] else ""
        yield f"  {row['name']:<16} {threshold}: {met}, aimed at {number(row['aimed'])}; {means}{short}"


def _evaluation(path: Path, content: Mapping[str, Any]) -> Iterable[str]:
    predictions = plural(content["predictions"], "prediction")
    yield f"{content['task']}, {predictions} on {plural(content['images'], 'image')}"
    for task in ("boxes", "keypoints"):
        if task in content:
            numbers = {k: v for k, v in content[task].items() if not isinstance(v, dict | list)}
            yield f"{task}: " + ", ".join(f"{k} {_percent(v)}" for k, v in numbers.items())
    for name, ap in content["per_category"].items():
        yield f"  {name:<16} AP {_percent(ap)}"


def _provenance(path: Path, content: Mapping[str, Any]) -> Iterable[str]:
    if "import" in content:
        yield "model {model}, imported from {import[checkpoint]} ({import[format]})".format(**content)
        yield f"{plural(len(content['unused']), 'tensor')} of it not used"
    else:
        yield (
            f"model {content['model']}, seed {content['seed']}, trained in {duration(content['seconds'])}, "
            f"resumed {content['resumes']} times"
        )
        spec = content["spec"]
        told = ("iterations", "batch", "lr", "init", "ratio")
        yield ", ".join(f"{key} {_shown(spec[key])}" for key in told if key in spec)
    yield f"commit {content['commit'] or 'unknown'}; " + ", ".join(
        f"{k} {v}" for k, v in content["versions"].items()
    )
    yield from (f"  {name:<16} {digest}" for name, digest in content["inputs"].items())


def _shown(option: Any) -> Any:
    """An option of a model, for a line: of a published checkpoint its path."""
    return option["checkpoint"] if isinstance(option, dict) and "checkpoint" in option else option


def _checkpoint(path: Path, _: Any) -> Iterable[str]:
    from distill.models.weights import read_weights  # takes seconds to import

    content = read_weights(path)
    meta, tensors = content["meta"], content["state_dict"]
    weights = sum(tensor.numel() for tensor in tensors.values())
    after = f" after {plural(meta['iterations'], 'iteration')}" if "iterations" in meta else ", imported"
    yield f"{meta['task']} model {meta['model']}{after}"
    yield "categories: " + ", ".join(category["name"] for category in meta["categories"])
    yield f"{plural(len(tensors), 'tensor')}, {weights / 1e6:.2f} million numbers"
    if (run := path.with_name("run.json")).exists():
        yield from _provenance(run, read_json(run))
    if (history := path.with_name("history.csv")).exists():
        yield from _history(history, None)


def _history(path: Path, _: Any) -> Iterable[str]:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        yield "no iteration yet"
        return
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        yield ", ".join(f"{key} {value}" for key, value in row.items() if value)


def _split_check(path: Path, content: Mapping[str, Any]) -> Iterable[str]:
    yield f"no image of {content['validation']} is in {content['training']}"
    if alike := content.get("alike"):
        yield f"{plural(alike['count'], 'pair')} look alike:"
        yield from (f"  {pair['validation']} and {pair['training']}" for pair in alike["pairs"])


def _study(path: Path, content: Mapping[str, Any]) -> Iterable[str]:
    for key in ("datasets", "views", "models", "labels", "tables"):
        yield f"{key}: {', '.join(content[key]) or 'none'}"


def _json(path: Path, content: Any) -> Iterable[str]:
    yield json.dumps(content, indent=2, ensure_ascii=False)[:5000]


def _text(path: Path, _: Any) -> Iterable[str]:
    yield path.read_text(encoding="utf-8", errors="replace").rstrip()


def _span(values: ArrayLike) -> str:
    low, middle, high = np.quantile(np.asarray(values, float), (0, 0.5, 1))
    return f"{low:.3f} … {high:.3f}, median {middle:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


DESCRIPTIONS: dict[str, Callable[[Path, Any], Iterable[str]]] = {
    "heatmap shard": _heatmaps,
    "prediction shard": _shard,
    "predictions": _predictions,
    "dataset": _dataset,
    "labels": _dataset,
    "thresholds": _thresholds,
    "statistics": _statistics,
    "evaluation": _evaluation,
    "provenance": _provenance,
    "checkpoint": _checkpoint,
    "history": _history,
    "split check": _split_check,
    "study": _study,
    "JSON": _json,
    "text": _text,
}
