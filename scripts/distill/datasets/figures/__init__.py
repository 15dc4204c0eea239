"""The embedded dataset: generated pictures of human figures with the 17 COCO keypoints; no download.

Every image is a pure function of (seed, index, size, style): asking for more images only adds some.
`skeleton` poses a body, `mannequin` dresses and draws it, `clutter` makes what surrounds it, `scene` puts
everything together and annotates what is seen.
"""

from pathlib import Path

import cv2
import numpy as np

from distill.datasets.figures.scene import STYLES, sample_scene
from distill.datasets.figures.skeleton import FLIP_PAIRS, KEYPOINTS, SKELETON
from distill.files import replacing
from distill.program import UserError, progress

CATEGORY = {"id": 1, "name": "person", "keypoints": KEYPOINTS, "skeleton": SKELETON, "flip_pairs": FLIP_PAIRS}


def image_size(seed: int, index: int, size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of an image: the given size, upright (height × width), or a square of about its
    area."""
    width, height = size
    side = round((width * height) ** 0.5 / 8) * 8
    shapes = [(width, height), (height, width), (side, side)]
    return shapes[int(np.random.default_rng([seed, index]).choice(3, p=[0.6, 0.25, 0.15]))]


def generate(images_dir: Path, images: int, seed: int, size: tuple[int, int], style: str) -> dict:
    """Writes images, images_dir/000001.jpg, …

    images: how many.
    seed: of all that is random.
    size: (width, height) of the landscape images, pixels.
    style: "photo", or "sketch": grey drawings on paper.

    Returns their COCO dict, without image hashes.
    Raises UserError where an argument makes no sense.
    """
    if style not in STYLES:
        raise UserError(f"figures: unknown style {style!r}; there are {', '.join(STYLES)}")
    if images < 1 or seed < 0:
        raise UserError(f"figures: images must be at least 1 and seed at least 0, not {images} and {seed}")
    if not 64 <= min(size) <= max(size) <= 2048:
        raise UserError(f"figures: each side must be 64 to 2048 pixels, not {size[0]}x{size[1]}")
    images_dir = Path(images_dir)
    records: list[dict] = []
    annotations: list[dict] = []
    for index in progress(range(images), images, "drawing figures"):
        shape = image_size(seed, index, size)
        scene = sample_scene(seed, index, shape, style)
        name = f"{index + 1:06d}.jpg"
        quality = 50 + (37 * index + seed) % 45
        encoded = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        with replacing(images_dir / name) as temporary:
            temporary.write_bytes(encoded.tobytes())
        records.append({"id": index + 1, "file_name": name, "width": shape[0], "height": shape[1]})
        for annotation in scene.annotations:
            annotations.append({"id": len(annotations) + 1, "image_id": index + 1, **annotation})
    return {
        "info": {"description": f"Generated figures, style {style}, seed {seed}. No real people."},
        "images": records,
        "annotations": annotations,
        "categories": [CATEGORY],
    }
