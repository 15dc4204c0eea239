"""What labelled images are like, as far as the choices of a study depend on it; and that in words."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from distill.datasets.coco import Coco
from distill.datasets.fingerprints import SIDE, Fingerprint, distances, looks
from distill.datasets.keypoint_meta import keypoint_meta
from distill.datasets.splits import ALIKE
from distill.program import UserError

SCENE = 0.45  # of the bits of a perceptual hash: unrelated images differ in half of them, frames in fewer
RARE = 10  # objects of a category
VALIDATED = 0.2  # of the labelled images, where none are given to validate on
NAMED = 5  # categories and pairs of keypoints, in what is said of the data
COMPARED = 5000  # images, at most, each with each


@dataclass(frozen=True)
class Facts:
    """What a labelled dataset is like.

    side: median of the images' shorter sides, in pixels. aspect: longer side by shorter one, which nine of
        ten images do not exceed.
    sizes: of objects, √(width · height) by the image's shorter side: small, usual and large ones. They are
        the lower tenth in the category of the smallest, the median, the upper tenth in that of the largest.
    posed: the median of those with keypoints, or 0.
    counts: objects of each category, by name. keypoints: how many. pairs: names of those that a mirror swaps.
    frames: whether neighbouring images show one scene, as those of a video, and can be split in their order.
    alike: images that look like another one.
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
    alike: int = 0
    empty: int = 0

    @property
    def task(self) -> str:
        return "keypoints" if self.keypoints else "boxes"


def facts_of(coco: Coco, prints: Sequence[Fingerprint]) -> Facts:
    """Of a labelled dataset, with the fingerprints of its images in its order."""
    sides = {image["id"]: sorted((image["width"], image["height"])) for image in coco["images"]}
    objects = [a for a in coco["annotations"] if not a["iscrowd"]]
    if not objects:
        raise UserError("the labelled images hold no object; `--labelled` has to be the file of annotations")
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
    first, last = (common.groupby("category")["place"].agg(which) for which in ("min", "max"))
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
        frames=bool(in_time) and of_one_scene(prints),
        alike=_alike(prints),
        empty=len(coco["images"]) - len({a["image_id"] for a in coco["annotations"]}),
    )


def of_one_scene(prints: Sequence[Fingerprint]) -> bool:
    """Whether images look more like their neighbours than unrelated ones do."""
    words = looks(list(prints))
    bits = np.bitwise_count(words[1:] ^ words[:-1]).sum(axis=-1)
    return bool(len(bits) and np.median(bits) < SCENE * SIDE**2)


def _alike(prints: Sequence[Fingerprint]) -> int:
    if len(prints) > COMPARED:
        return 0
    words = looks(list(prints))
    others = (((bits <= ALIKE).sum(axis=1) > 1).sum() for _, bits in distances(words, words))
    return int(sum(others))


def _listed(items: Iterable[str]) -> str:
    first = list(items)
    return ", ".join(first[:NAMED]) + (f" and {len(first) - NAMED} more" if len(first) > NAMED else "")


def words(found: Facts, overlap: bool, device: str) -> list[str]:
    """What was seen, a line each. overlap: whether annotated images are among the unlabelled ones."""
    two = partial(np.format_float_positional, precision=2, unique=False, fractional=False, trim="-")
    low, middle, high = (two(100 * size) for size in found.sizes)
    categories = "1 category" if len(found.counts) == 1 else f"{len(found.counts)} categories"
    lines = [f"{found.images} labelled images with {sum(found.counts.values())} objects of {categories}"]
    by_count = sorted(found.counts.items(), key=lambda item: -item[1])
    if len(by_count) > 1 and by_count[0][1] >= RARE:
        lines.append(f"most objects are of {_listed(f'{n} ({c})' for n, c in by_count if c >= RARE)}")
    if any(count < RARE for count in found.counts.values()):
        lines.append(f"few objects of {_listed(f'{n} ({c})' for n, c in reversed(by_count) if c < RARE)}")
    lines += [f"objects measure {low}% to {high}% of the image's shorter side, the usual one {middle}%"]
    if found.empty:
        what = "nothing is learned from them, fewer labels are made; take out what nobody has looked at"
        lines.append(f"{found.empty} of the labelled images hold no object: {what}")
    if found.keypoints:
        pairs = f": {_listed(f'{a} and {b}' for a, b in found.pairs)}" if found.pairs else ""
        lines.append(f"{found.keypoints} keypoints, of which a mirror swaps {len(found.pairs)} pairs{pairs}")
        if not found.pairs:
            lines.append("no left and right among them? If there is, name the pairs in `flip_pairs`")
    if found.frames:
        lines.append("images look like their neighbours, as frames of a video: they are split in their order")
    elif found.alike:
        lines.append(f"{found.alike} labelled images look like another one; copies must not be validated on")
    if overlap:
        lines.append("annotated images are among the unlabelled ones: the study leaves them out there")
    other = {"cpu": "gpu", "gpu": "cpu"}[device]
    lines.append(f"for a {'machine without a GPU' if device == 'cpu' else 'GPU'} (else: --device {other})")
    return lines
