"""What signatures call the content of COCO files, and its annotations. `coco_check` says what is in ours."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Coco = Mapping[str, Any]  # a file (info, images, annotations, categories)
Record = Mapping[str, Any]  # one record of these lists, or a COCO result
R = TypeVar("R", bound=Record)


def instances(coco: Coco) -> list[dict[str, Any]]:
    """The annotations that are no crowd regions, in order."""
    return [annotation for annotation in coco["annotations"] if not annotation.get("iscrowd")]


def visible_keypoints(annotation: Record) -> int:
    """How many of its keypoints (x, y, v) have a visibility above 0."""
    return sum(v > 0 for v in (annotation.get("keypoints") or ())[2::3])


def by_image(records: Iterable[R]) -> dict[Any, list[R]]:
    """Records by their image_id, in order; an image without any has no list."""
    found: dict[Any, list[R]] = {}
    for record in records:
        found.setdefault(record["image_id"], []).append(record)
    return found
