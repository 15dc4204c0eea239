"""Views: geometric transforms of an image, each a pair of exactly inverse maps (image → view → image).

A view resizes the image, turns it, then mirrors it; the maps of boxes, points and heatmaps follow the same
order and the inverses the opposite one. The sizes of views are whole pixels, so x and y have factors of
their own, view_width / width and view_height / height: with a single factor, inversion would be off by up
to half a pixel at the far border.

Everything here is in float pixels with a pixel's centre at +0.5. `size` is always (width, height) of the
*original* image. NumPy and OpenCV are imported where used: the workflow imports this module for names alone.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from distill.program import UserError

if TYPE_CHECKING:
    import numpy as np

Size = tuple[int, int]
LONGEST_NAME = 100  # of numbers that Python reads
_NAME = re.compile(
    r"s(\d{4,})(?:-m(\d+))?(?:-a(\d+(?:\.\d+)?))?(?:-r(\d{3}))?(?:-p(\d+(?:\.\d+)?))?(?:-t(-?\d+))?(-flip)?"
)


@dataclass(frozen=True)
class View:
    """One geometric transform. Raises UserError for values out of range.

    scale: the view's shorter side in pixels.
    flip: mirrored horizontally, after the turn.
    max_side: the longer side is at most this, pixels; where it would be longer, it decides the view's size.
    aspect: the image is first stretched by √aspect in width and 1/√aspect in height; scale and max_side are
        those of the stretched image.
    rotate: counterclockwise turn, 0, 90, 180 or 270 degrees.
    padding, turn: of the crops that a top-down pose estimator sees (`crops`): how many times its box each is
        as large, and a counterclockwise turn in degrees. Its crops are of the original image and have one
        size, so that of the other fields only flip matters to it.

    The values here are those that a name says by leaving them out: names are on disk, and mean the same for
    ever. What the configuration says by leaving an option out is in its schema alone.
    """

    scale: int
    flip: bool = False
    max_side: int = 2000
    aspect: float = 1.0
    rotate: int = 0
    padding: float = 1.25
    turn: int = 0

    def __post_init__(self) -> None:
        for key in ("scale", "max_side"):
            value = getattr(self, key)
            if type(value) is not int or not 1 <= value <= 100_000:
                raise UserError(f"view: {key} must be whole pixels from 1 to 100000, not {value!r}")
        if type(self.flip) is not bool:
            raise UserError(f"view: flip must be true or false, not {self.flip!r}")
        for key, least, most in (("aspect", 0.1, 10), ("padding", 0.5, 4)):
            value = getattr(self, key)
            if type(value) not in (int, float) or not least <= value <= most:
                raise UserError(f"view: {key} must be a number from {least} to {most}, not {value!r}")
            if float(f"{value:g}") != value:
                raise UserError(f"view: {key} {value!r} has too many digits; {value:g} would do")
        if type(self.rotate) is not int or self.rotate not in (0, 90, 180, 270):
            raise UserError(f"view: rotate must be 0, 90, 180 or 270, not {self.rotate!r}")
        if type(self.turn) is not int or not -45 <= self.turn <= 45:
            raise UserError(f"view: turn must be whole degrees from -45 to 45, not {self.turn!r}")

    @property
    def name(self) -> str:
        """For example s0800, s0800-flip, s0640-m1333-a1.25-r090-flip; of crops s0800-p1.5-t-10."""
        return (
            f"s{self.scale:04d}"
            + (f"-m{self.max_side}" if self.max_side != View.max_side else "")
            + (f"-a{self.aspect:g}" if self.aspect != 1 else "")
            + (f"-r{self.rotate:03d}" if self.rotate else "")
            + (f"-p{self.padding:g}" if self.padding != View.padding else "")
            + (f"-t{self.turn}" if self.turn else "")
            + ("-flip" if self.flip else "")
        )

    @classmethod
    def parse(cls, name: str) -> "View":
        """The view of a name; UserError where the name is not exactly that of a view."""
        match = _NAME.fullmatch(name)
        if match and len(name) < LONGEST_NAME:
            scale, max_side, aspect, rotate, padding, turn, flip = match.groups()
            side, padding = int(max_side or cls.max_side), float(padding or cls.padding)
            turned = (int(rotate or 0), padding, int(turn or 0))
            view = cls(int(scale), bool(flip), side, float(aspect or 1), *turned)
            if view.name == name:
                return view
        raise UserError(f"{name!r} names no view; names are like s0800, s0800-flip, s0800-m1333")

    @property
    def as_image(self) -> "View":
        """What of it changes whole images: without the options of crops."""
        return replace(self, padding=View.padding, turn=View.turn)

    @property
    def as_crop(self) -> "View":
        """What of it changes crops: of views that differ in the rest alone an estimator sees the same."""
        return View(1, self.flip, padding=self.padding, turn=self.turn)

    def size(self, width: int, height: int) -> Size:
        """(width, height) of the view of a width × height image; rounded half up, at least 1 pixel."""
        view = self._resized(width, height)
        return view[::-1] if self.rotate % 180 else view

    def forward_points(self, points: "np.ndarray", size: Size) -> "np.ndarray":
        """(…, 2) x, y in the image → in the view."""
        import numpy as np

        width, height = self._resized(*size)
        x, y = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        x, y = x * (width / size[0]), y * (height / size[1])
        for _ in range(self.rotate // 90):
            x, y, width, height = y, width - x, height, width
        return np.stack([width - x if self.flip else x, y], axis=-1)

    def inverse_points(self, points: "np.ndarray", size: Size) -> "np.ndarray":
        """(…, 2) x, y in the view → in the image."""
        import numpy as np

        width, height = self.size(*size)
        x, y = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
        x = width - x if self.flip else x
        for _ in range(self.rotate // 90):
            x, y, width, height = height - y, x, height, width
        return np.stack([x * (size[0] / width), y * (size[1] / height)], axis=-1)

    def forward_boxes(self, boxes: "np.ndarray", size: Size) -> "np.ndarray":
        """(…, 4) x1, y1, x2, y2 in the image → in the view."""
        return _map_corners(self.forward_points, boxes, size)

    def inverse_boxes(self, boxes: "np.ndarray", size: Size) -> "np.ndarray":
        """(…, 4) x1, y1, x2, y2 in the view → in the image."""
        return _map_corners(self.inverse_points, boxes, size)

    def transform_image(self, image: "np.ndarray") -> "np.ndarray":
        """(H, W, 3) or (H, W) image → its view, bilinear as in training; always contiguous."""
        import cv2
        import numpy as np

        size = self._resized(image.shape[1], image.shape[0])
        if size != image.shape[1::-1]:
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        view = np.rot90(image, self.rotate // 90)
        return np.ascontiguousarray(view[:, ::-1] if self.flip else view)

    def inverse_heatmap(self, heatmap: "np.ndarray", flip_pairs: Sequence[tuple[int, int]]) -> "np.ndarray":
        """(…, K, S, S) heatmaps of RoIs in the view → of the same RoIs in the image.

        A mirror image turns left into right: besides x, the channels of `flip_pairs` (0-based) are swapped.
        A turned RoI is the turned box, so its heatmap is turned with it. May return a view of the array.
        """
        import numpy as np

        if self.flip:
            channels = list(range(heatmap.shape[-3]))
            for left, right in flip_pairs:
                channels[left], channels[right] = right, left
            heatmap = heatmap[..., channels, :, ::-1]
        return np.rot90(heatmap, -(self.rotate // 90), axes=(-2, -1))

    def _resized(self, width: int, height: int) -> Size:
        """Size before the turn."""
        if width < 1 or height < 1:
            raise UserError(f"an image of {width} × {height} pixels has no view")
        stretch = math.sqrt(self.aspect)
        sides = (width * stretch, height / stretch) if stretch != 1 else (width, height)
        longer, shorter = max(sides), min(sides)
        # Multiplied before divided: products below 2**53 are exact, so that halves are seen as halves.
        numerator, denominator = (self.scale, shorter)
        if longer * self.scale > self.max_side * shorter:
            numerator, denominator = (self.max_side, longer)
        width, height = (max(1, math.floor(side * numerator / denominator + 0.5)) for side in sides)
        return width, height


def reach_around(scale: int, views: Iterable[View]) -> bool:
    """Whether some view's scale is at most, and some view's at least, this one: only then has each instance a
    view that counts for it where the use of scales depends on size (`heatmaps.counts`)."""
    scales = [view.scale for view in views]
    return min(scales) <= scale <= max(scales)


def check_crops(views: Iterable[View], where: str) -> None:
    """UserError where two of the views give a pose estimator the same crops, or one changes whole images."""
    seen: dict[View, View] = {}
    for view in views:
        if view.rotate or view.aspect != View.aspect:
            raise UserError(
                f"{where}: {view.name} turns or stretches images; crops have `padding` and `turn`"
            )
        if (first := seen.setdefault(view.as_crop, view)) is not view:
            both = f"{first.name} and {view.name} are the same to a pose estimator"
            raise UserError(f"{where}: {both}, whose crops differ in flip, `padding` and `turn` alone")


def check_images(views: Iterable[View], where: str) -> None:
    """UserError where one of the views changes crops, for a network that sees whole images."""
    for view in views:
        if view != view.as_image:
            raise UserError(f"{where}: {view.name}: padding and turn are for top-down pose estimators")


def _map_corners(transform: Any, boxes: "np.ndarray", size: Size) -> "np.ndarray":
    """Maps two opposite corners and sorts them again: flips and turns exchange them."""
    import numpy as np

    boxes = np.asarray(boxes, dtype=np.float64)
    corners = transform(boxes.reshape(*boxes.shape[:-1], 2, 2), size)
    return np.concatenate([corners.min(axis=-2), corners.max(axis=-2)], axis=-1)


def expand(spec: Any, usual: Mapping[str, Any]) -> list[View]:
    """The views of an entry of the configuration, in its order. UserError for anything else.

    usual: the options that a mapping may leave out (flip, max_side, …), as its schema has them.

    A list names views one by one, each a name ("s0800-flip") or a mapping {scale: 800, flip: true}. A mapping
    with `scales` is a grid, {scales: [400, 500], flip: true, aspects: [1, 1.25], rotations: [0, 90],
    paddings: [1, 1.25], turns: [-10, 0, 10]}: all combinations, and `flip: true` there means both without and
    with. Either may set max_side. Lists may hold grids.
    """
    views: list[View] = []
    for item in spec if isinstance(spec, list) else [spec]:
        views += [View.parse(item)] if isinstance(item, str) else _grid(item, usual)
    if not views:
        raise UserError("views: the list is empty")
    for i, view in enumerate(views):
        if view in views[:i]:
            raise UserError(f"views: {view.name} is listed twice")
    return views


def _grid(item: Any, usual: Mapping[str, Any]) -> list[View]:
    if not isinstance(item, dict):
        raise UserError(f"views: {item!r} is neither a name nor a mapping like {{scale: 800}}")
    if ("scale" in item) == ("scales" in item):
        raise UserError(f"views: {item!r} needs either 'scale' or 'scales'")
    plurals = ("scales", "aspects", "rotations", "paddings", "turns")
    single = [field.name for field in fields(View)]
    known = {"flip", "max_side", *plurals} if "scales" in item else set(single)
    if unknown := set(item) - known:
        raise UserError(f"views: unknown key {min(map(str, unknown))!r} in {item!r}")
    item = {**usual, **item}
    if "scale" in item:
        return [View(**{key: item[key] for key in single})]
    for key in plurals:
        if not isinstance(item[key], list) or not item[key]:
            raise UserError(f"views: {key} must be a list, not {item[key]!r}")
    flips = [False, True] if item["flip"] is True else [item["flip"]]
    return [
        View(scale, mirrored, item["max_side"], aspect, rotate, padding, turn)
        for aspect, rotate, padding, turn, scale, mirrored in product(
            *(item[key] for key in ("aspects", "rotations", "paddings", "turns", "scales")), flips
        )
    ]
