"""One picture: figures among objects, painted far to near, and what of each figure is seen."""

from dataclasses import dataclass

import cv2
import numpy as np

from distill.datasets.figures import clutter
from distill.datasets.figures.mannequin import Figure
from distill.datasets.figures.patches import FINE, PAPER, Canvas, Patch
from distill.datasets.figures.skeleton import PARTS, Shape, own_parts, sample_pose
from distill.datasets.figures.wardrobe import sample_outfit

STYLES = ("photo", "sketch")
_COUNTS = [0.03, 0.12, 0.22, 0.25, 0.2, 0.11, 0.07]  # probability of 0, 1, … figures in an image
_MIN_AREA, _MIN_SHOWN, _MIN_KEYPOINTS = 48, 0.4, 5  # a figure of which less can be seen is left out
_GUESSABLE = 0.12  # a hidden joint is labelled up to this distance (in heights) from what is seen
_Item = tuple[float, list[Patch], Figure | None]  # depth, and what of: None is no figure


@dataclass(frozen=True)
class Scene:
    """A picture and what is known of it.

    image: (h, w, 3) uint8 BGR. owners: (FINE·h, FINE·w) uint16, who is on top: (i + 1) · PARTS + part of
    figures[i], 0 where there is no figure. annotations[i] describes figures[i] as COCO does, without ids.
    """

    image: np.ndarray
    owners: np.ndarray
    figures: list[Figure]
    annotations: list[dict]


def sample_scene(seed: int, index: int, size: tuple[int, int], style: str) -> Scene:
    """The picture `index`, of size (width, height)."""
    rng = np.random.default_rng([seed, index, 1 + STYLES.index(style)])
    width, height = size
    count = int(rng.choice(len(_COUNTS), p=_COUNTS))
    light = rng.uniform(-1, 1)
    figures: list[Figure] = []
    for _ in range(count):
        figures.append(_sample_figure(rng, size, light, figures))
    items: list[_Item] = [(float(f.keypoints[:, 1].max()) + rng.normal(0, 5), f.patches, f) for f in figures]
    for _ in range(rng.integers(2, 10)):  # far and near objects: the lower, the nearer
        scale = np.exp(rng.uniform(np.log(0.12), np.log(0.7))) * min(size)
        centre = rng.uniform([0, 0.1 * height], [width, height])
        objects = clutter.sample_object(rng, centre, scale)
        items.append((centre[1] + 0.3 * scale - rng.exponential(0.5) * height, objects, None))
    items.sort(key=lambda item: item[0])
    scenery = clutter.background(rng, size)
    if style == "sketch":
        scenery = (PAPER + 0.08 * (scenery.astype(np.float32) - 200)).astype(np.uint8)
    lens = rng.spawn(1)[0]
    while True:  # a figure that is too hidden is taken out of the scene, not left unlabelled in it
        canvas, shown, annotations = _paint(items, scenery, style)
        gone = [f for f, annotation in zip(shown, annotations, strict=True) if annotation is None]
        if not gone:
            break
        items = [item for item in items if item[2] not in gone]
    image = cv2.resize(canvas.colours, size, interpolation=cv2.INTER_AREA)
    if style == "sketch":
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return Scene(clutter.photograph(lens, image), canvas.owners, shown, [a for a in annotations if a])


def _sample_figure(
    rng: np.random.Generator, size: tuple[int, int], light: float, others: list[Figure]
) -> Figure:
    """A figure anywhere, or, as people do, beside another one and about as large."""
    width, height = size
    pose, outfit = sample_pose(rng), sample_outfit(rng)
    wide, limbs, head = rng.uniform([0.88, 0.93, 0.95], [1.18, 1.07, 1.3])
    shape = Shape(wide, limbs, head, thickness=rng.uniform(0.85, 1.3))
    tall = np.exp(rng.uniform(*np.log([60, 100] if rng.random() < 0.2 else [100, 180]))) * min(size) / 240
    centre = np.array(
        [rng.uniform(0.08, 0.92) * width, rng.normal(0.55, 0.12 + 0.1 * (1 - tall / min(size))) * height]
    )
    centre[1] = np.clip(centre[1], 0.1 * height, 0.95 * height)
    if others and rng.random() < 0.45:
        near = others[rng.integers(len(others))]
        tall = float(np.clip(near.height * np.exp(rng.normal(0, 0.15)), 25, 0.9 * min(size)))
        centre = near.keypoints.mean(0) + rng.normal(0, [0.45 * near.height, 0.12 * near.height])
    return Figure(pose, shape, outfit, tall, centre, light)


def _paint(
    items: list[_Item], scenery: np.ndarray, style: str
) -> tuple[Canvas, list[Figure], list[dict | None]]:
    """Paints items in turn: the canvas, the figures, their annotations."""
    canvas, shown, full = Canvas(scenery, style), [], []
    for _, patches, figure in items:
        if figure:
            shown.append(figure)
        for patch in patches:
            canvas.paint(patch, len(shown) if figure else 0)
        if figure:
            full.append(int(np.count_nonzero(canvas.owners // PARTS == len(shown))))
    return canvas, shown, [_annotate(f, i + 1, canvas.owners, full[i]) for i, f in enumerate(shown)]


def _annotate(figure: Figure, number: int, owners: np.ndarray, full: int) -> dict | None:
    """COCO's fields of a figure; None where too little of it is seen.

    full: how many canvas pixels the figure had before anything was painted over it.
    Visibility: 2 seen; 1 hidden, but near enough to what is seen to be placed; 0 outside the image, on a face
    turned away, or hidden too far from anything seen, where a human annotator would not guess either.
    """
    own = owners // PARTS == number
    area = np.count_nonzero(own)
    if area < max(_MIN_AREA * FINE**2, _MIN_SHOWN * full):
        return None
    distance = cv2.distanceTransform((~own[::FINE, ::FINE]).astype(np.uint8), cv2.DIST_L2, 3)
    keypoints, labelled = [], 0
    for k, (x, y) in enumerate(np.round(figure.keypoints, 2).tolist()):
        row, column = int(np.floor(y * FINE)), int(np.floor(x * FINE))
        inside = 0 <= row < owners.shape[0] and 0 <= column < owners.shape[1]
        far = inside and distance[row // FINE, column // FINE] > _GUESSABLE * figure.height
        if not inside or figure.turned_away[k] or far:
            keypoints += [0, 0, 0]
            continue
        top, part = divmod(int(owners[row, column]), PARTS)
        seen = top == number and part in own_parts(k)
        keypoints += [x, y, 2 if seen else 1]
        labelled += 1
    if labelled < _MIN_KEYPOINTS:
        return None
    x, y, w, h = (side / FINE for side in cv2.boundingRect(own.astype(np.uint8)))
    return {
        "category_id": 1, "keypoints": keypoints, "num_keypoints": labelled,
        "bbox": [x, y, w, h], "area": area / FINE**2, "iscrowd": 0,
    }  # fmt: skip
