"""Annotations in another convention than COCO's: a single one may be right by chance, but not all of a file.

Boxes given by their corners, or boxes and keypoints in fractions of the image, or keypoints relative to their
box, are numbers like others.
"""

from typing import Any

import numpy as np

from distill.datasets.checks import WrongSize
from distill.program import UserError

MOST = 1 / 2  # of a file's boxes, or of its keypoints: more that do not fit are wrong for sure
MANY_BOXES, MANY_KEYPOINTS = 1 / 5, 1 / 3  # more are wrong if all fit another convention
NONE = ((0, 0), (-1, -1))  # where tables of poses put what is missing
MARGIN = 1 / 10  # of a box's sides: so far beyond it a keypoint still belongs to it


class Conventions:
    """Gathers the boxes and labelled keypoints of one file as they are written.

    record: what messages call an entry of the file.
    """

    def __init__(self, record: str = "annotation") -> None:
        self.record = record
        self.boxes: list[tuple] = []  # x, y, w, h, image width, image height
        self.ids: list[tuple[int, int]] = []  # annotation, image
        self.points: list[tuple] = []  # x, y, row of its box

    def add(self, annotation: dict[str, Any], size: tuple[int, int]) -> None:
        """An annotation whose numbers are finite."""
        self.boxes.append((*annotation["bbox"], *size))
        self.ids.append((annotation["id"], annotation["image_id"]))
        flat, row = annotation.get("keypoints") or (), len(self.boxes) - 1
        points = zip(flat[0::3], flat[1::3], flat[2::3], strict=True)
        self.points += [(x, y, row) for x, y, v in points if v and (x, y) not in NONE]

    def refuse(self, where: Any, computed: bool = False) -> None:
        """Raises UserError where the file as a whole looks like another convention. computed: x, y, width and
        height are computed here, so that they can be no corners."""
        if not self.boxes:
            return
        boxes = np.array(self.boxes, float)
        points = np.array(self.points, float).reshape(-1, 3)
        self._refuse_fractions(where, boxes, points)
        if not computed:
            self._refuse_corners(where, boxes)
        self._refuse_relative(where, boxes, points)

    def _refuse_fractions(self, where: Any, boxes: np.ndarray, points: np.ndarray) -> None:
        if (boxes[:, 4:] <= 1).any():
            return  # of an image of one pixel
        for what, values in (("boxes", boxes[:, :4]), ("keypoints", points[:, :2])):
            within = ((values >= 0) & (values <= 1)).all(1)
            if len(values) and within.mean() > MOST:
                raise UserError(
                    f"{where}: {within.sum()} of {len(values)} {what} lie within one pixel: they look like "
                    "fractions; they have to be in pixels of the image"
                )

    def _refuse_corners(self, where: Any, boxes: np.ndarray) -> None:
        first, second, sizes = boxes[:, :2], boxes[:, 2:4], boxes[:, 4:]
        over = (first + second > sizes + 1).any(1) | (first < -1).any(1)
        corners = bool(((first >= -1) & (second > first) & (second <= sizes + 1)).all())
        if over.sum() > 1 and over.mean() > (MANY_BOXES if corners else MOST):
            annotation, image = self.ids[int(over.argmax())]
            looks = "they look like x1, y1, x2, y2;" if corners else "are they of images of another size?"
            wanted = "bbox has to be x, y, width, height in pixels"
            raise WrongSize(
                f"{where}: {over.sum()} of {len(boxes)} boxes reach over the image's edge (the first: "
                f"{self.record} {annotation} of image {image}): {looks} {wanted}",
                image,
            )

    def _refuse_relative(self, where: Any, boxes: np.ndarray, points: np.ndarray) -> None:
        mine = boxes[points[:, 2].astype(int)]
        low, sides = mine[:, :2], mine[:, 2:4]
        reach = MARGIN * sides
        place = points[:, :2]
        outside = ((place < low - reach) | (place > low + sides + reach)).any(1)
        relative = bool(((place >= 0) & (place <= sides + reach)).all())
        if outside.sum() > 1 and outside.mean() > (MANY_KEYPOINTS if relative else MOST):
            annotation, image = self.ids[int(points[outside.argmax(), 2])]
            looks = "they look relative to it;" if relative else "are they relative to it?"
            raise UserError(
                f"{where}: {outside.sum()} of {len(points)} keypoints lie outside their box (the first: of "
                f"{self.record} {annotation} of image {image}): {looks} they have to be in pixels of the "
                "image"
            )
