"""Labelled and generated images as one dataset that YOLO programs train on; `datasets.yolo` has the layout.

A list, train.txt, has the images of both; where one kind is too few it is repeated there, so that an epoch
has both in the ratio in which a student sees them (6:4 in Data Distillation, arXiv 1712.04440).
"""

import os
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from distill.datasets.checks import leaves_root
from distill.datasets.coco import Coco, Record, by_image, instances
from distill.datasets.images import check_upright
from distill.datasets.keypoint_meta import KeypointMeta, keypoint_meta
from distill.datasets.yolo import label_path
from distill.files import write_text
from distill.program import UserError, log, progress
from distill.strict import some

READ = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")  # by ultralytics, of what we read
PARTS = ("labelled", "generated", "val")


# Some of the images: path in the exported folder → where it is now, and its labels.
Part = dict[str, tuple[Path, str]]


def export(labels: Coco, labelled: Coco, val: Coco, ratio: tuple[float, float], output: Path) -> None:
    """Writes data.yaml, train.txt, val.txt, links to the images, and a text file of labels for each.

    Poses are written where labelled and generated images have keypoints, else boxes. Crowd regions, which the
    format cannot say, are left out.

    labels: the generated ones.
    labelled, val: datasets. Categories are the same where their names are; classes are those of all three.
    ratio: labelled to generated images of an epoch.
    output: a folder that is not there yet, or empty.

    Raises UserError where a part has no category of the labelled images, an image is missing, or the folder
    is not empty.
    """
    if output.is_dir() and any(output.iterdir()):
        raise UserError(f"{output}: is not empty; give a new folder")
    datasets = dict(zip(PARTS, (labelled, labels, val), strict=True))
    known = {name: [each["name"] for each in dataset["categories"]] for name, dataset in datasets.items()}
    for name, listed in known.items():
        if not {*listed} & {*known["labelled"]}:
            raise UserError(
                f"the categories of {name}, {some(listed, 5)}, are none of those of the labelled images"
            )
    classes = {each: number for number, each in enumerate(dict.fromkeys(chain(*known.values())))}
    if more := [each for each in classes if each not in known["labelled"]]:
        log.warning("categories that labelled images do not have: %s", ", ".join(more))
    posed = all(any(a.get("keypoints") for a in dataset["annotations"]) for dataset in (labelled, labels))
    meta = keypoint_meta(labelled) if posed else None
    for name, each in ((name, each) for name, dataset in datasets.items() for each in dataset["categories"]):
        if meta and tuple(each.get("keypoints") or meta.names) != meta.names:
            raise UserError(f"{name}: {each['name']} has other keypoints than the labelled images")
    parts = {name: _part(name, dataset, classes, meta) for name, dataset in datasets.items()}
    for name, part in parts.items():
        for file, (source, lines) in progress(part.items(), len(part), f"writing labels, {name}"):
            _link(source, output / file)
            write_text(Path(label_path(os.path.abspath(output / file))), lines)
    train = interleaved([[*parts[name]] for name in PARTS[:2]], ratio)
    for file, names in (("train.txt", train), ("val.txt", [*parts["val"]])):
        write_text(output / file, "".join(f"./{name}\n" for name in names))
    write_text(output / "data.yaml", _description(classes, meta))
    counts = Counter(name.split("/")[1] for name in train)
    for name in PARTS[:2]:
        log.info("train.txt: %d lines of %d %s images", counts[name], len(parts[name]), name)


def interleaved(parts: list[list[str]], ratio: tuple[float, float]) -> list[str]:
    """All files of two parts, those of one repeated until there are as many of both as the ratio says; none
    is there twice more often than another. Of an empty part there is nothing to repeat."""
    sizes, wanted = np.array([len(part) for part in parts], float), np.array(ratio, float)
    if (sizes == 0).any():
        return [name for part in parts for name in part]
    counts = np.rint(wanted * (sizes / wanted).max()).astype(int)
    rng = np.random.default_rng(0)
    result = []
    for part, count in zip(parts, counts.tolist(), strict=True):
        times, more = divmod(count, len(part))
        chosen = set(rng.permutation(len(part))[:more].tolist())
        result += [name for i, name in enumerate(part) for _ in range(times + (i in chosen))]
    return result


def _part(name: str, dataset: Coco, classes: Mapping[str, int], meta: KeypointMeta | None) -> Part:
    root, part = Path(dataset["info"]["image_root"]), {}
    numbers = {category["id"]: classes[category["name"]] for category in dataset["categories"]}
    found, taken = by_image(instances(dataset)), set()
    for image in progress(dataset["images"], len(dataset["images"]), f"looking for images, {name}"):
        path = PurePosixPath(image["file_name"])
        if leaves_root(image["file_name"]):
            raise UserError(f"{name}: {path} is not below {root}, so it has no place in an exported folder")
        if path.suffix.lower() not in READ:
            raise UserError(f"{name}: YOLO programs read no {path.suffix} images, as {path}; convert them")
        file = PurePosixPath("images", name, path)
        while label_path(str(file)) in taken:  # of another ending
            file = file.with_name(f"{file.stem}-{image['id']}{path.suffix}")
        taken.add(label_path(str(file)))
        if not (root / path).is_file():
            raise UserError(f"{root / path}: no such file; the images have moved since the dataset was made")
        source = check_upright(root / path, image)
        lines = (_line(a, numbers[a["category_id"]], image, meta) for a in found.get(image["id"], ()))
        part[str(file)] = source, "".join(lines)
    return part


def _line(annotation: Record, number: int, image: Record, meta: KeypointMeta | None) -> str:
    """class x y w h, and x y v of each keypoint."""
    size = np.array([image["width"], image["height"]], float)
    corner, sides = np.split(np.array(annotation["bbox"], float), 2)
    corner, end = np.clip(corner, 0, size), np.clip(corner + sides, 0, size)
    values = [*(corner + end) / 2 / size, *(end - corner) / size]
    words = [f"{number}", *(f"{value:.6f}" for value in values)]
    if meta:
        flat = annotation.get("keypoints") or [0] * 3 * len(meta.names)
        for x, y, v in np.reshape(flat, (-1, 3)):
            place = np.clip((x, y) / size, 0, 1) if v else (0, 0)
            words += [f"{place[0]:.6f}", f"{place[1]:.6f}", f"{v:.0f}"]
    return " ".join(words) + "\n"


def _description(classes: Mapping[str, int], meta: KeypointMeta | None) -> str:
    """data.yaml."""
    content: dict[str, Any] = {"train": "train.txt", "val": "val.txt"}
    content["names"] = {number: name for name, number in classes.items()}
    if meta:
        content |= {"kpt_shape": [len(meta.names), 3], "flip_idx": list(meta.flip_indices)}
        content["kpt_names"] = {number: list(meta.names) for number in classes.values()}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())
