"""What labelled images are like, as far as the choices of a study depend on it; and that in words."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from distill.datasets.coco import Coco, instances
from distill.datasets.fingerprints import SIDE, Fingerprint, distances, looks
from distill.datasets.images import natural_key
from distill.datasets.keypoint_meta import keypoint_meta
from distill.datasets.splits import ALIKE
from distill.program import UserError

SCENE = 0.45  # of the bits of a perceptual hash: unrelated images differ in half of them, frames in fewer
RARE = 10  # objects of a category
VALIDATED = 0.2  # of the labelled images, where none are given to validate on
NAMED = 5  # categories and pairs of keypoints, in what is said of the data
COMPARED = 5000  # images, at most, each with each
MASKS = "tools that write masks so (CVAT) mean objects: set their iscrowd to 0"


@dataclass(frozen=True)
class Facts:
    """What a labelled dataset is like.

    side: median of the images' shorter sides, in pixels. aspect: longer side by shorter one, which nine of
        ten images do not exceed.
    sizes: of objects, √(width · height) by the image's shorter side: small, usual and large ones. They are
        the lower tenth in the category of the smallest, the median, the upper tenth in that of the largest.
    posed: the median of those with keypoints, or 0.
    counts: objects of each category, by name. crowds: annotations that are crowd regions.
    keypoints: how many. pairs: names of those that a mirror swaps; unpaired: of the others.
    frames: whether neighbouring images show one scene, as those of a video, and can be split in their order.
    ordered: whether this order is that of their names.
    alike: images that look like another one. copies: images that Roboflow made of others by augmentation.
    empty: images without an object.
    parted: whether a split in their order has copies of a file on both sides.
    """

    images: int
    side: float
    aspect: float
    sizes: tuple[float, float, float]
    counts: dict[str, int]
    keypoints: int
    pairs: tuple[tuple[str, str], ...]
    frames: bool
    posed: float = 0
    unpaired: tuple[str, ...] = ()
    ordered: bool = True
    alike: int = 0
    copies: int = 0
    empty: int = 0
    crowds: int = 0
    parted: bool = False

    @property
    def task(self) -> str:
        return "keypoints" if self.keypoints else "boxes"


def facts_of(coco: Coco, prints: Sequence[Fingerprint]) -> Facts:
    """Of a labelled dataset, with the fingerprints of its images in its order."""
    sides = {image["id"]: sorted((image["width"], image["height"])) for image in coco["images"]}
    objects = instances(coco)
    crowds = len(coco["annotations"]) - len(objects)
    if not objects:
        only = (
            f"but {crowds} crowd regions; {MASKS}" if crowds else "and it has to be the file of annotations"
        )
        raise UserError(f"--labelled: its images hold no object, {only}")
    names = {category["id"]: category["name"] for category in coco["categories"]}
    places = {image["id"]: place / len(sides) for place, image in enumerate(coco["images"])}
    table = pd.DataFrame(
        {
            "category": [names[a["category_id"]] for a in objects],
            "size": [math.sqrt(a["bbox"][2] * a["bbox"][3]) / sides[a["image_id"]][0] for a in objects],
            "posed": [bool(a.get("num_keypoints")) for a in objects],
            "place": [places[a["image_id"]] for a in objects],
        }
    )
    counts = table["category"].value_counts()
    common = table[table["category"].map(counts) >= min(RARE, counts.max())]
    by_category = common.groupby("category")["size"]
    meta = keypoint_meta(coco) if table["posed"].any() else None
    swapped = {k for pair in meta.flip_pairs for k in pair} if meta else set()
    files = [image["file_name"] for image in coco["images"]]
    first, last = (common.groupby("category")["place"].agg(which) for which in ("min", "max"))
    cut = validated_from(len(files))
    early, late = (
        {image.get("hash") for image in part} for part in (coco["images"][:cut], coco["images"][cut:])
    )
    in_time = ((first < 1 - VALIDATED) & (last >= 1 - VALIDATED)).all()  # not sorted by category
    return Facts(
        images=len(coco["images"]),
        side=float(np.median([short for short, _ in sides.values()])),
        aspect=float(np.quantile([long / short for short, long in sides.values()], 0.9)),
        sizes=(by_category.quantile(0.1).min(), table["size"].median(), by_category.quantile(0.9).max()),
        posed=float(table["size"][table["posed"]].median()) if meta else 0.0,
        counts={name: int(counts.get(name, 0)) for name in names.values()},
        keypoints=len(meta.names) if meta else 0,
        pairs=tuple((meta.names[a], meta.names[b]) for a, b in meta.flip_pairs) if meta else (),
        unpaired=tuple(name for k, name in enumerate(meta.names) if k not in swapped) if meta else (),
        frames=bool(in_time) and of_one_scene(prints),
        ordered=files == sorted(files, key=natural_key),
        alike=_alike(prints),
        copies=len(files) - len({name.partition(".rf.")[0] for name in files}),
        crowds=crowds,
        parted=bool(early & late - {None}),
        empty=len(coco["images"]) - len({a["image_id"] for a in coco["annotations"]}),
    )


def of_one_scene(prints: Sequence[Fingerprint]) -> bool:
    """Whether images look more like their neighbours than unrelated ones do."""
    words = looks(list(prints))
    bits = np.bitwise_count(words[1:] ^ words[:-1]).sum(axis=-1)
    return bool(len(bits) and np.median(bits) < SCENE * SIDE**2)


def validated_from(images: int) -> int:
    """The first of so many images, in their order, that is validated on where they are split so."""
    return int((1 - VALIDATED) * images + 0.5)


def _alike(prints: Sequence[Fingerprint]) -> int:
    if len(prints) > COMPARED:
        return 0
    words = looks(list(prints))
    others = (((bits <= ALIKE).sum(axis=1) > 1).sum() for _, bits in distances(words, words))
    return int(sum(others))


def plural(count: int, noun: str) -> str:
    """1 image, 2 images."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def listed(items: Iterable[str]) -> str:
    """The first few of them, and how many more there are."""
    first = list(items)
    return ", ".join(first[:NAMED]) + (f" and {len(first) - NAMED} more" if len(first) > NAMED else "")


def words(found: Facts, overlap: bool, device: str, split: bool = True) -> list[str]:
    """What was seen, a line each.

    overlap: whether annotated images are among the unlabelled ones.
    device: cpu or gpu.
    split: whether some of the images are to be validated on.
    """
    lines = [*_of_objects(found), *_of_keypoints(found), *_of_images(found, split)]
    if overlap:
        lines.append("annotated images are among the unlabelled ones: the study leaves them out there")
    other = {"cpu": "gpu", "gpu": "cpu"}[device]
    lines.append(f"for a {'machine without a GPU' if device == 'cpu' else 'GPU'} (else: --device {other})")
    return lines


def _of_objects(found: Facts) -> Iterator[str]:
    two = partial(np.format_float_positional, precision=2, unique=False, fractional=False, trim="-")
    low, middle, high = (two(100 * size) for size in found.sizes)
    categories = "1 category" if len(found.counts) == 1 else f"{len(found.counts)} categories"
    yield f"{found.images} labelled images with {sum(found.counts.values())} objects of {categories}"
    by_count = sorted(found.counts.items(), key=lambda item: -item[1])
    if len(by_count) > 1 and by_count[0][1] >= RARE:
        yield f"most objects are of {listed(f'{n} ({c})' for n, c in by_count if c >= RARE)}"
    if rare := [f"{name} ({count})" for name, count in reversed(by_count) if 0 < count < RARE]:
        yield f"few objects of {listed(rare)}"
    if none := [name for name, count in by_count if not count]:
        yield f"no object of {listed(none)}: no label is made of such, and no model finds one"
    yield f"objects measure {low}% to {high}% of the image's shorter side, the usual one {middle}%"
    if found.crowds:
        what = "neither object nor background (iscrowd, or difficult of VOC)"
        yield f"{what}: {plural(found.crowds, 'annotation')}; {MASKS}"


def _of_keypoints(found: Facts) -> Iterator[str]:
    if found.keypoints:
        pairs = f": {listed(f'{a} and {b}' for a, b in found.pairs)}" if found.pairs else ""
        swapped = plural(len(found.pairs), "pair")
        yield f"{plural(found.keypoints, 'keypoint')}, of which a mirror swaps {swapped}{pairs}"
    if found.unpaired and found.keypoints > 1:
        where = "flip_pairs of the category, or flip_idx of a data.yaml"
        yield f"not swapped: {listed(found.unpaired)}; if some are left and right, say so by {where}"


def _of_images(found: Facts, split: bool) -> Iterator[str]:
    if found.empty:
        what = "nothing is learned there, fewer labels are made; --only-annotated leaves that out"
        yield f"{plural(found.empty, 'labelled image')} without an object: {what}"
    if found.copies and split:
        what = "a model is then validated on versions of what it learned; export without it, or give --val"
        yield f"{plural(found.copies, 'version')} of other images (Roboflow's augmentation): {what}"
    if found.frames:
        yield "images look like their neighbours, as frames of a video: they are split in their order"
        if not found.ordered and split:
            what = "if names are in order of time, number them so, or give --val"
            yield f"their order is that of their ids, which is not that of their names: {what}"
    elif found.alike:
        yield f"{found.alike} labelled images look like another one; copies must not be validated on"
