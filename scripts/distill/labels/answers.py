"""What a tool says of labels that people corrected in it, its names found among those of the labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from distill.datasets.checks import show
from distill.datasets.coco import Coco
from distill.datasets.image_names import ends
from distill.program import UserError

Record = dict[str, Any]


@dataclass
class Answer:
    """records: image id → corrected annotations, of all images that a person has seen. categories: ids of
    those that it speaks of, None for all. left: what is not taken → names of the images that have it."""

    records: dict[Any, list[Record]] = field(default_factory=dict)
    categories: set[int] | None = None
    left: dict[str, list[str]] = field(default_factory=dict)

    def begin(self, image: Record) -> list[Record]:
        """The empty list of an image's annotations. Raises UserError where the file had the image already."""
        if image["id"] in self.records:
            raise UserError(f"{image['file_name']!r} is there twice; export it with folders")
        return self.records.setdefault(image["id"], [])

    def leave(self, what: str, image: Record) -> None:
        """Notes something that is not taken; what: in the plural."""
        self.left.setdefault(what, []).append(image["file_name"])

    def unfit(self, box: list[float], image: Record) -> bool:
        """Whether a box (x, y, w, h) has no area in its image; it is noted then."""
        x, y, w, h = box
        if w <= 0 or h <= 0:
            self.leave("boxes without area", image)
        elif x >= image["width"] or y >= image["height"] or x + w <= 0 or y + h <= 0:
            self.leave("boxes outside the image", image)
        else:
            return False
        return True


def category_named(name: str, labels: Coco) -> Record:
    for category in labels["categories"]:
        if category["name"] == name:
            return category
    known = ", ".join(category["name"] for category in labels["categories"])
    raise UserError(f"there is no category {show(name)} in the labels, only {known}")


class ImagesByName:
    """Those of labels, found by what tools call them: they put folders before a name or take them off."""

    def __init__(self, images: Sequence[Record]) -> None:
        self._named = {image["file_name"]: image for image in images}

    @cached_property
    def on_top(self) -> int:
        """How many are in no folder."""
        return sum("/" not in name for name in self._named)

    def named(self, name: str, flat: bool = False) -> Record:
        """That of the file name, or of the longest that it ends with, or the one that ends so. flat: whether
        the tool took off the folders, so that others may end so, too. Raises UserError where it is none or
        several."""
        for known in () if flat and len(self._ending.get(name, ())) > 1 else ends(name):
            if known in self._named:
                return self._named[known]
        fits = self._ending.get(name, [])
        if len(fits) != 1:
            raise UserError(f"image {show(name)} is {'several' if fits else 'none'} of the labels' images")
        return fits[0]

    @cached_property
    def _ending(self) -> dict[str, list[Record]]:
        result: dict[str, list[Record]] = {}
        for name, image in self._named.items():
            for end in ends(name):
                result.setdefault(end, []).append(image)
        return result


def keypoint_fields(points: Mapping[str, tuple[float, float, int]], category: Mapping[str, Any]) -> Record:
    """points: x, y, v by keypoint name."""
    if unknown := points.keys() - set(category.get("keypoints") or ()):
        raise UserError(f"{category['name']} has no keypoint {show(min(unknown))}")
    flat = [value for name in category.get("keypoints") or () for value in points.get(name, (0, 0, 0))]
    return {"keypoints": flat, "num_keypoints": sum(v > 0 for v in flat[2::3])}
