"""What a tool says of labels that people corrected in it, its names found among those of the labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from distill.datasets.checks import show
from distill.datasets.coco import Coco
from distill.datasets.image_names import NamedImages
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
    """The category of the labels. Raises UserError where there is none of the name."""
    for category in labels["categories"]:
        if category["name"] == name:
            return category
    known = ", ".join(category["name"] for category in labels["categories"])
    raise UserError(f"there is no category {show(name)} in the labels, only {known}")


class ImagesByName(NamedImages):
    """Those of labels."""

    def only(self, name: str, flat: bool = False) -> Record:
        """The one that a name fits. flat: whether the tool may have taken off all folders, so that it stands
        for any of that end. Raises UserError where it is none or several."""
        elsewhere = self.ending(name) if flat else []
        fits = elsewhere if len(elsewhere) > 1 else self.fitting(name)
        if len(fits) != 1:
            hint = f"; export it with folders, or call the one in none ./{name}"
            what = ("several", hint) if fits else ("none", "")
            raise UserError(f"image {show(name)} is {what[0]} of the labels' images{what[1]}")
        return fits[0]


def keypoint_fields(points: Mapping[str, tuple[float, float, int]], category: Mapping[str, Any]) -> Record:
    """points: x, y, v by keypoint name."""
    if unknown := points.keys() - set(category.get("keypoints") or ()):
        raise UserError(f"{category['name']} has no keypoint {show(min(unknown))}")
    flat = [value for name in category.get("keypoints") or () for value in points.get(name, (0, 0, 0))]
    return {"keypoints": flat, "num_keypoints": sum(v > 0 for v in flat[2::3])}
