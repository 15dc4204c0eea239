"""Pictures of a page: images as JPEG data URIs, boxes and skeletons as SVG laid over them.

The overlay is vector graphics in the pixels of the original image (a pixel's centre is at +0.5): sharp at any
size, with the score on hover, and one embedded image serves teacher, student and ground truth. Strokes have
the same width on the screen whatever the size of the image (`vector-effect` in the page's style).
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from distill.program import UserError, log

# Bright enough on a photograph, with a dark halo beneath. Orange and blue come last, since they are also the
# colours of the left and the right of skeletons.
COLOURS = ("#a6e22e", "#ff6fb5", "#ffe14d", "#c792ff", "#2ee6c5", "#f4f1de", "#ff7f50", "#5ea8ff")
SIDES = {"left": "#ff9a1f", "right": "#3ec5ff", "middle": "#ffffff"}  # of skeletons


@dataclass(frozen=True)
class Picture:
    """An image that the page holds: the id of its `<image>`, and its size in original pixels."""

    id: str
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


@dataclass(frozen=True)
class Window:
    """A part of a picture, of the same shape, in original pixels."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def around(cls, box: Sequence[float], picture: Picture) -> "Window":
        """The one in whose middle, as far as the picture reaches, a box (x, y, w, h) takes a third."""
        x, y, w, h = box
        share = min(1.0, max(3 * w / picture.width, 3 * h / picture.height, 0.2))
        width, height = share * picture.width, share * picture.height
        left = min(max(x + (w - width) / 2, 0), picture.width - width)
        top = min(max(y + (h - height) / 2, 0), picture.height - height)
        return cls(left, top, width, height)


@dataclass
class Album:
    """The images of one page, each embedded once, until `budget` bytes of images and overlays are used up.

    `side` is the longer side in pixels to which larger images are reduced; `missing` counts the images that
    are not shown.
    """

    budget: int = 14_000_000
    side: int = 720
    quality: int = 80
    used: int = 0
    missing: int = 0
    _pictures: dict[tuple[str, str], Picture | None] = field(default_factory=dict)
    _uris: dict[str, str] = field(default_factory=dict)

    def add(self, root: str, image: Mapping[str, Any]) -> Picture | None:
        """The picture of a COCO image record below `root`; None if it is unreadable or the page is full."""
        key = (root, image["file_name"])
        if key not in self._pictures:
            self._pictures[key] = self._embed(Path(root) / image["file_name"], image)
            self.missing += self._pictures[key] is None
        return self._pictures[key]

    def _embed(self, path: Path, image: Mapping[str, Any]) -> Picture | None:
        if self.used >= self.budget:
            return None
        size = (int(image["width"]), int(image["height"]))
        try:
            uri = jpeg_uri(path, size, self.side, self.quality, image.get("hash"))
        except (UserError, OSError) as error:
            log.warning("left out of the report: %s", error)
            return None
        self.used += len(uri)
        picture = Picture(f"image{len(self._uris)}", *size)
        self._uris[picture.id] = uri
        return picture

    def panel(self, picture: Picture, drawn: Markup, label: str, window: Window | None = None) -> Markup:
        """One `<svg>`: the picture with an overlay; `label` is what a screen reader says, `window` what is
        seen of it before somebody zooms, None for all."""
        self.used += len(drawn)
        seen = (window.x, window.y, window.width, window.height) if window else (0, 0, *picture.size)
        return Markup(
            '<svg class="picture" viewBox="{}" role="img" tabindex="0" aria-label="{}">'
            '<use href="#{}"/>{}</svg>'
        ).format(" ".join(f"{value:.7g}" for value in seen), label, picture.id, drawn)

    def definitions(self) -> Markup:
        """The `<image>` elements to which the `<use>` elements of the page refer."""
        sizes = {p.id: (p.width, p.height) for p in self._pictures.values() if p}
        return Markup("\n").join(
            Markup('<image id="{}" width="{}" height="{}" preserveAspectRatio="none" href="{}"/>').format(
                name, *sizes[name], uri
            )
            for name, uri in self._uris.items()
        )


def jpeg_uri(path: Path, size: tuple[int, int], side: int, quality: int, digest: str | None = None) -> str:
    """An image file (`size` = width, height) as a JPEG data URI of at most `side` pixels.

    Raises UserError if the file is unreadable, of another size or, by its digest, another one.
    """
    import cv2

    from distill.datasets.images import read_image

    pixels = read_image(path, size, digest)
    shrink = side / max(pixels.shape[:2])
    if shrink < 1:
        new = tuple(max(1, round(length * shrink)) for length in pixels.shape[1::-1])
        pixels = cv2.resize(pixels, new, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    data = cv2.imencode(".jpg", pixels, options)[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def colour_of(categories: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Category id → colour, by the order in the dataset."""
    return {c["id"]: COLOURS[i % len(COLOURS)] for i, c in enumerate(categories)}


def overlay(
    records: Sequence[Mapping[str, Any]], categories: Sequence[Mapping[str, Any]], visible: float = 0.0
) -> Markup:
    """Annotations or results in COCO format as SVG groups, in the pixels of the image.

    Of `keypoints` (x, y, v or x, y, score) those whose third value is above `visible` are drawn: the left
    half of every flip pair in one colour, the right half in another, so that swapped sides catch the eye.
    Crowd regions are dashed. Records of unknown categories are left out.
    """
    known = {c["id"]: c for c in categories}
    colours = colour_of(categories)
    return Markup("").join(
        _instance(record, known[record["category_id"]], colours[record["category_id"]], visible)
        for record in records
        if record["category_id"] in known
    )


def _instance(record: Mapping[str, Any], category: Mapping[str, Any], colour: str, visible: float) -> Markup:
    score = record.get("score")
    title = category["name"] if score is None else f"{category['name']} {score:.2f}"
    box = Markup('x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(*record["bbox"])
    crowd = Markup(' class="crowd"') if record.get("iscrowd") else ""
    boxes = Markup('<g class="box"><rect class="halo" {}/><rect {}{}/></g>').format(box, box, crowd)
    skeleton = ""
    if record.get("keypoints") and category.get("keypoints"):
        skeleton = _skeleton(record["keypoints"], category, visible)
    # Attributes that the filters of the page look at.
    data = (
        Markup("")
        if score is None
        else Markup(' data-category="{}" data-score="{:.3f}"').format(category["id"], score)
    )
    return Markup('<g class="instance"{} style="--c:{}"><title>{}</title>{}{}</g>\n').format(
        data, colour, title, boxes, skeleton
    )


def sides(category: Mapping[str, Any]) -> list[str]:
    """For each keypoint of a category "left", "right" or "middle", from its flip pairs (left first)."""
    result = ["middle"] * len(category["keypoints"])
    for left, right in category.get("flip_pairs") or ():
        result[left], result[right] = "left", "right"
    return result


def _skeleton(keypoints: Sequence[float], category: Mapping[str, Any], visible: float) -> Markup:
    side = sides(category)
    points = {k: keypoints[3 * k : 3 * k + 2] for k in range(len(side)) if keypoints[3 * k + 2] > visible}
    links = [(a - 1, b - 1) for a, b in category.get("skeleton") or ()]
    limbs = [
        (_side_of_link(side[a], side[b]), "M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*points[a], *points[b]))
        for a, b in links
        if a in points and b in points
    ]
    dots = [(side[k], f"M{x:.1f} {y:.1f}h0") for k, (x, y) in points.items()]  # a round cap makes it a dot
    return Markup('<g class="skeleton">{}{}</g>').format(_strokes("limb", limbs), _strokes("dot", dots))


def _strokes(kind: str, strokes: Sequence[tuple[str, str]]) -> Markup:
    """One path for each side, over a halo of all of them."""
    paths = {side: "".join(d for s, d in strokes if s == side) for side in ("middle", "right", "left")}
    return Markup("").join(
        Markup('<path class="{} {}" d="{}"/>').format(kind, name, d)
        for name, d in {"halo": "".join(paths.values()), **paths}.items()
        if d
    )


def _side_of_link(a: str, b: str) -> str:
    """A limb between a left and a right keypoint (shoulder to shoulder) belongs to the middle."""
    if a == b or b == "middle":
        return a
    return b if a == "middle" else "middle"
