"""A study that fits somebody's data: network, scales, lengths and splits, from what the data are.

Numbers follow the studies of config/ that were measured: an object must cover so many pixels in training that
an anchor finds it, few images are seen often, and a student trains as long as its teacher, its fair rival.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from distill.datasets.coco import Coco
from distill.datasets.fingerprints import SIDE, Fingerprint, looks
from distill.datasets.keypoint_meta import keypoint_meta
from distill.program import UserError

STEP = 16  # pixels, of sides
SMALL = {"cpu": 12, "gpu": 24}  # pixels, of the small objects in training
POSED = {"cpu": 96, "gpu": 192}  # pixels, of an object whose keypoints are to be told apart
SIDES = {"cpu": (128, 256), "gpu": (480, 800)}  # pixels, least and most of the shorter side
NETWORKS = {  # by what is annotated, and the device
    ("boxes", "cpu"): "faster_rcnn_lite",
    ("keypoints", "cpu"): "keypoint_rcnn_lite",
    ("boxes", "gpu"): "faster_rcnn_r50_fpn",
    ("keypoints", "gpu"): "keypoint_rcnn_r50_fpn",
}
ITERATIONS = (500, 1500)  # on a CPU, least and most …
PER_IMAGE = 6  # … and for each labelled image
FEW = 100  # labelled images
OF_ONE_SIZE = 1.6  # large objects by small ones
SCENE = 0.45  # of the bits of a perceptual hash: unrelated images differ in half of them, frames in fewer
RARE = 10  # objects of a category


@dataclass(frozen=True)
class Facts:
    """What a labelled dataset is like.

    side: median of the images' shorter sides, in pixels. aspect: the largest longer side by the shorter one.
    sizes: of objects, √(width · height) by the image's shorter side: small, usual and large ones. They are
        the lower tenth in the category of the smallest, the median, the upper tenth in that of the largest.
    counts: objects of each category, by name. keypoints, pairs: how many, and pairs that a mirror swaps.
    frames: whether neighbouring images show one scene.
    """

    images: int
    side: float
    aspect: float
    sizes: tuple[float, float, float]
    counts: dict[str, int]
    keypoints: int
    pairs: int
    frames: bool

    @property
    def task(self) -> str:
        return "keypoints" if self.keypoints else "boxes"


@dataclass(frozen=True)
class Sources:
    """Where the data are, as entries of `datasets`; what is None is made of the labelled images.

    hide: the share of labelled images whose labels are hidden, for an upper bound, or 0.
    """

    labelled: dict[str, Any]
    unlabelled: dict[str, Any] | None
    val: dict[str, Any] | None
    hide: float
    unlabelled_images: int = field(default=0)


def facts(coco: Coco, prints: Sequence[Fingerprint]) -> Facts:
    """Of a labelled dataset, with the fingerprints of its images in its order."""
    sides = {image["id"]: sorted((image["width"], image["height"])) for image in coco["images"]}
    objects = [a for a in coco["annotations"] if not a["iscrowd"]]
    if not objects:
        raise UserError("the labelled images hold no object; `--labelled` has to be the file of annotations")
    names = {category["id"]: category["name"] for category in coco["categories"]}
    table = pd.DataFrame(
        {
            "category": [names[a["category_id"]] for a in objects],
            "size": [math.sqrt(a["bbox"][2] * a["bbox"][3]) / sides[a["image_id"]][0] for a in objects],
        }
    )
    counts = table["category"].value_counts()
    common = table[table["category"].map(counts) >= min(RARE, counts.max())]
    by_category = common.groupby("category")["size"]
    meta = keypoint_meta(coco) if any(a.get("num_keypoints") for a in objects) else None
    return Facts(
        images=len(coco["images"]),
        side=float(np.median([short for short, _ in sides.values()])),
        aspect=max(long / short for short, long in sides.values()),
        sizes=(by_category.quantile(0.1).min(), table["size"].median(), by_category.quantile(0.9).max()),
        counts={name: int(counts.get(name, 0)) for name in names.values()},
        keypoints=len(meta.names) if meta else 0,
        pairs=len(meta.flip_pairs) if meta else 0,
        frames=of_one_scene(prints),
    )


def of_one_scene(prints: Sequence[Fingerprint]) -> bool:
    """Whether images look more like their neighbours than unrelated ones do."""
    words = looks(list(prints))
    bits = np.bitwise_count(words[1:] ^ words[:-1]).sum(axis=-1)
    return bool(len(bits) and np.median(bits) < SCENE * SIDE**2)


def training_side(found: Facts, device: str) -> int:
    """The shorter side, in pixels, at which objects are large enough, within what the device bears and half
    as much again as the images have."""
    least, most = SIDES[device]
    wanted = SMALL[device] / found.sizes[0]
    if found.keypoints:
        wanted = max(wanted, POSED[device] / found.sizes[1])
    return int(np.clip(_step(wanted), least, max(least, min(most, _step(1.5 * found.side)))))


def view_sides(found: Facts, side: int, device: str) -> list[int]:
    """Around that of training; as far as the paper's (half to one and a half) where there is a GPU, less far
    where objects are all of one size."""
    if found.sizes[2] <= OF_ONE_SIZE * found.sizes[0]:
        return [side - 2 * STEP, side - STEP, side, side + STEP]
    if device == "gpu":
        return [_step(side * share) for share in np.linspace(0.5, 1.5, 9)]
    return [_step(side * share) for share in (0.82, 1, 1.18)]


def config(found: Facts, sources: Sources, results: str, device: str) -> dict[str, Any]:
    """The configuration of the study.

    results: its folder of results. device: cpu or gpu.
    """
    side = training_side(found, device)
    labelled = found.images * (1 - sources.hide)
    model: dict[str, Any] = {"config": NETWORKS[found.task, device]}
    if device == "cpu":
        model["scales"] = [side - 2 * STEP, side - STEP, side, side + STEP]
        model["max_side"] = _step((side + STEP) * min(found.aspect, 2)) + STEP
        model |= {"batch": 4, "lr": 0.0016} if labelled < FEW else {}
        model["iterations"] = int(np.clip(PER_IMAGE * labelled, *ITERATIONS)) // 100 * 100
    else:
        model["scales"] = [_step(side * share) for share in np.linspace(0.8, 1, 6)]
        model["iterations"] = "auto"
    model["augment"] = "weak"
    student: dict[str, Any] = {"labels": "distilled", "augment": {"labelled": "weak", "generated": "strong"}}
    if labelled < FEW and sources.unlabelled_images + found.images - labelled > 5 * labelled:
        student["ratio"] = [1, 3]
    models: dict[str, Any] = {"teacher": {}, "student": student}
    rows: list[Any] = ["teacher", {"model": "teacher", "views": "all"}, "student"]
    table: dict[str, Any] = {"rows": rows}
    if sources.hide:
        models["upper"] = {"labelled": "annotated"}
        rows.append("upper")
        table["gap"] = {"baseline": "teacher", "student": "student", "upper": "upper"}
    return {
        "results": results,
        "model": model,
        "datasets": dict(_datasets(sources, found.frames)),
        "views": {
            "plain": [{"scale": side}],
            "all": {"scales": view_sides(found, side, device), "flip": True},
        },
        "models": models,
        "labels": {"distilled": {}},
        "tables": {"results": table},
    }


def _datasets(sources: Sources, frames: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Validation images are set aside first, then those whose labels are hidden. Frames are split by time."""
    name, own = "labelled", sources.labelled
    if sources.val is None:
        yield "everything", own
        parts = (
            ({"range": [0.8, 1]}, {"range": [0, 0.8]}) if frames else ({"fraction": 0.2}, {"exclude": "val"})
        )
        yield "val", {"kind": "subset", "of": "everything", **parts[0]}
        own = {"kind": "subset", "of": "everything", **parts[1]}
    else:
        yield "val", sources.val
    if not sources.hide:
        yield name, own
    else:
        yield "annotated", own
        part = (
            {"range": [0, round(1 - sources.hide, 4)]} if frames else {"fraction": round(1 - sources.hide, 4)}
        )
        yield name, {"kind": "subset", "of": "annotated", **part}
    hidden = {"kind": "subset", "of": "annotated", "exclude": "labelled", "strip_annotations": True}
    match sources.unlabelled, bool(sources.hide):
        case None, _:
            yield "unlabelled", hidden
        case given, False:
            yield "unlabelled", given
        case given, True:
            yield "hidden", hidden
            yield "more", given
            yield "unlabelled", {"kind": "union", "of": ["hidden", "more"]}


def words(found: Facts, device: str) -> list[str]:
    """What was seen, a line each."""
    low, middle, high = (round(100 * size) for size in found.sizes)
    categories = "1 category" if len(found.counts) == 1 else f"{len(found.counts)} categories"
    lines = [f"{found.images} labelled images with {sum(found.counts.values())} objects of {categories}"]
    lines += [f"objects measure {low}% to {high}% of the image's shorter side, the usual one {middle}%"]
    if found.keypoints:
        lines.append(f"{found.keypoints} keypoints, of which a mirror swaps {found.pairs} pairs")
        if not found.pairs:
            lines.append("no left and right among them? If there is, name the pairs in `flip_pairs`")
    if rare := [f"{name} ({count})" for name, count in found.counts.items() if count < RARE]:
        lines.append(f"few objects of {', '.join(rare[:8])}{' and others' if len(rare) > 8 else ''}")
    if found.frames:
        lines.append("images look like their neighbours, as frames of a video: they are split in their order")
    lines.append(f"for a {'machine without a GPU' if device == 'cpu' else 'GPU'}")
    return lines


COMMENTS = {
    "model": "The network, and how it is trained; lengths in iterations, sides in pixels.",
    "datasets": "What is learned from, what is to be labelled, and what tells how good a model is.",
    "views": "Shorter sides in pixels: of the usual view, and of those that are merged into labels.",
    "models": "Both are trained equally long: the teacher is the student's fair rival.",
}


def text(study: Mapping[str, Any], seen: Sequence[str]) -> str:
    """The configuration as YAML, with comments. seen: lines for its beginning."""
    lines = [f"# {line}" for line in seen]
    for key, value in study.items():
        lines += ["", f"# {COMMENTS[key]}"] if key in COMMENTS else []
        if isinstance(value, dict) and key != "model":
            lines.append(f"{key}:")
            lines += [f"  {_flow({name: item})[1:-1]}" for name, item in value.items()]
        else:
            lines.append(_flow({key: value})[1:-1])
    return "\n".join(lines) + "\n"


def relative(path: str | Path, folder: str) -> str:
    return os.path.relpath(os.path.abspath(path), folder)


def _flow(value: Any) -> str:
    return yaml.safe_dump(
        value, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True
    ).strip()


def _step(value: float) -> int:
    return STEP * round(float(value) / STEP)
