"""What surrounds the figures: backgrounds, objects in front of and behind them, light and lens.

Objects share the figures' colours and shapes (limb-like sticks, round heads of signs, cloth-coloured blobs),
so that neither colour nor shape alone gives a figure away.
"""

import cv2
import numpy as np

from distill.datasets.figures.patches import Patch, capsule, hull
from distill.datasets.figures.wardrobe import cloth, hsv, skin


def octaves(rng: np.random.Generator, size: tuple[int, int], cells: int, count: int, decay: float):
    """(h, w) float32 noise of mean 0 and deviation about 1: `count` octaves from `cells` across the image."""
    width, height = size
    total, weight, norm = np.zeros((height, width), np.float32), 1.0, 0.0
    for i in range(count):
        across = max(2, round(cells * 2**i))
        grid = rng.standard_normal((max(2, across * height // width), across), dtype=np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        norm += weight**2
        weight *= decay
    return total / np.float32(0.75 * norm**0.5)


def muted(rng: np.random.Generator) -> np.ndarray:
    """A wall, a floor, a meadow, a sky: mostly not vivid. BGR, 0–255."""
    return hsv(rng.random(), 0.6 * rng.beta(1.2, 2.2), rng.uniform(0.3, 0.95))


def _surface(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) float32: two like colours mixed by noise, with stripes, tiles or bricks at times."""
    width, height = size
    first = muted(rng)
    second = np.clip(first + rng.normal(0, 30, 3), 0, 255)
    noise = octaves(rng, size, int(rng.integers(2, 12)), int(rng.integers(1, 5)), rng.uniform(0.4, 0.9))
    mix = 0.5 + 0.3 * rng.uniform(0.3, 1.5) * noise
    kind = rng.choice(["plain", "stripes", "tiles", "gradient"], p=[0.4, 0.22, 0.2, 0.18])
    x, y = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    period = width * rng.uniform(0.02, 0.16)
    if kind == "stripes":
        turn = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
        mix = 0.35 * mix + 0.6 * (np.sin(2 * np.pi / period * (x * np.cos(turn) + y * np.sin(turn))) > 0)
    elif kind == "tiles":
        shift = rng.choice([0, 0.5]) * (y // (0.5 * period) % 2)
        seam = (y % (0.5 * period) < 1.5) | ((x + shift * period) % period < 1.5)
        mix = 0.3 * mix + 0.6 * seam
    elif kind == "gradient":
        turn = rng.uniform(0, 2 * np.pi)
        mix = 0.3 * mix + 0.5 + 0.6 * ((x / width - 0.5) * np.cos(turn) + (y / height - 0.5) * np.sin(turn))
    mix = np.clip(mix, 0, 1, dtype=np.float32)[..., None]
    return first.astype(np.float32) * (1 - mix) + second.astype(np.float32) * mix


def background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) uint8 BGR of size (w, h): a wall or sky, mostly with a floor."""
    width, height = size
    image = _surface(rng, size)
    if rng.random() < 0.75:
        horizon = int(height * rng.uniform(0.25, 0.8))
        image[horizon:] = _surface(rng, (width, height - horizon)) * rng.uniform(0.7, 1.1)
    return np.clip(image, 0, 255).astype(np.uint8)


def _paint(rng: np.random.Generator) -> np.ndarray:
    return skin(rng) if rng.random() < 0.15 else cloth(rng) if rng.random() < 0.6 else muted(rng)


def _blob(rng: np.random.Generator, radius: float, stretch: float = 1.0) -> np.ndarray:
    """A smooth random outline (n, 2) around the origin."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    waves = np.zeros_like(turn)
    for k in range(2, 6):
        waves += rng.normal(0, 0.25 / k) * np.cos(k * turn + rng.uniform(0, 6.3))
    return radius * (1 + waves)[:, None] * np.stack([np.cos(turn) * stretch, np.sin(turn)], 1)


def _chain(rng: np.random.Generator, start, length: float, radius: float, turn: float, links: int) -> list:
    """The outlines (m, 2) of a bent, tapering limb of several links."""
    outlines, start = [], np.asarray(start, float)
    for _ in range(links):
        end = start + length * np.array([np.cos(turn), np.sin(turn)])
        outlines.append(capsule(start, end, radius, 0.8 * radius))
        start, turn, radius = end, turn + rng.normal(0, 0.7), 0.8 * radius
    return outlines


def _bars(ends, radius: float) -> list[np.ndarray]:
    """The outlines of straight bars; ends: (n, 2, 2)."""
    return [capsule(a, b, radius, radius) for a, b in np.asarray(ends, float)]


# The kinds of object, around the origin and about 1 large: (outline, colour 0 or 1, shade) in painting order.


def _sticks(rng) -> list:
    outlines = []
    for _ in range(rng.integers(1, 4)):
        start, length, radius = rng.normal(0, 0.12, 2), rng.uniform(0.15, 0.35), rng.uniform(0.02, 0.06)
        outlines += _chain(rng, start, length, radius, rng.uniform(0, 2 * np.pi), int(rng.integers(2, 4)))
    return [(outline, rng.random() < 0.33, 1) for outline in outlines]


def _pole(rng) -> list:
    lean, radius = rng.normal(0, 0.05), rng.uniform(0.02, 0.06)
    top, foot = np.array([-lean, -1]), np.array([lean, 1])
    return [(capsule(top - [shift, 0], foot - [shift, 0], r, r), 0, shade)
            for r, shift, shade in ((radius, 0, 1), (0.4 * radius, 0.3 * radius, 1.15))]  # fmt: skip


def _sign(rng) -> list:
    top, radius, inner = np.array([0, -0.35]), rng.uniform(0.08, 0.16), rng.uniform(0.5, 0.8)
    plates = [capsule(top, top - top * 0.14, r, r) for r in (radius, inner * radius)]
    return [(capsule(top, np.array([0, 0.5]), 0.025, 0.025), 0, 1), (plates[0], 1, 1), (plates[1], 0, 1)]


def _stain(rng) -> list:
    outline = _blob(rng, 0.3, rng.uniform(0.4, 1.2))
    return [(outline, 0, 1), (0.6 * outline + rng.normal(0, 0.05, 2), rng.random() < 0.5, 1.1)]


def _box(rng) -> list:
    w, h, d = rng.uniform(0.15, 0.5, 3) * [1, 1, 0.4]
    front, shift = np.array([[-w, -h], [w, -h], [w, h], [-w, h]]), np.array([d * rng.choice([-1, 1]), -d])
    back = front + shift
    top = np.concatenate([front[:2], back[1::-1]])
    return [(hull(np.concatenate([front, back])), 0, 0.7), (top, 0, 1.15), (front, 0, 1)]


def _ball(rng) -> list:
    radius, at = rng.uniform(0.08, 0.2), np.zeros(2)
    return [(capsule(at, at, r * radius, r * radius) - (1 - r) * 0.4 * radius, 0, shade)
            for r, shade in ((1, 0.9), (0.75, 1), (0.4, 1.15))]  # fmt: skip


def _tree(rng) -> list:
    trunk = _chain(rng, (0, 0.6), 0.5, 0.07, -np.pi / 2, 2)
    leaves = [_blob(rng, 0.22) + rng.normal(0, 0.15, 2) - [0, 0.3] for _ in range(3)]
    return [*((outline, 1, 0.6) for outline in trunk), *zip(leaves, (0, 0, 0), (0.8, 0.95, 1.1), strict=True)]


def _chair(rng) -> list:
    legs = [((0.2 * a, 0), (0.22 * a, 0.25)) for a in (-1, -0.6, 0.6, 1)]
    return [(bar, 0, 1) for bar in _bars([*legs, ((-0.2, 0), (0.2, 0)), ((0.2, 0), (0.2, -0.33))], 0.025)]


def _fence(rng) -> list:
    rails = [((-1, y), (1, y)) for y in (-0.12, 0.12)]
    posts = [((x, -0.22), (x, 0.3)) for x in np.linspace(-1, 1, 9)]
    return [(bar, 0, 1) for bar in _bars(rails + posts, 0.018)]


def _jar(rng) -> list:
    right = np.array([[0.1, -0.4], [0.09, -0.25], [0.2, -0.1], [0.22, 0.2], [0.13, 0.4]])
    label = np.array([[-0.18, 0.0], [0.18, 0.0], [0.2, 0.12], [-0.2, 0.12]])
    return [(np.concatenate([right, right[::-1] * [-1, 1]]), 0, 1), (label, 1, 1)]


_OBJECTS = {
    _sticks: 0.24, _pole: 0.1, _sign: 0.1, _stain: 0.13, _box: 0.11,
    _ball: 0.07, _tree: 0.08, _chair: 0.07, _fence: 0.04, _jar: 0.06,
}  # fmt: skip


def sample_object(rng: np.random.Generator, centre: np.ndarray, scale: float) -> list[Patch]:
    """One object of about `scale` pixels around `centre`, as patches in their order of painting."""
    make = list(_OBJECTS)[rng.choice(len(_OBJECTS), p=list(_OBJECTS.values()))]
    colours, edge = [_paint(rng), _paint(rng)], rng.choice([0, 0.01 * scale])
    return [
        Patch(outline * scale + centre, tuple(np.clip(colours[which] * shade, 0, 255)), edge=edge)
        for outline, which, shade in make(rng)
    ]


def photograph(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Uneven coloured light, blur and noise, as a cheap camera adds them. (h, w, 3) uint8 in and out."""
    size = image.shape[1], image.shape[0]
    light = np.exp(rng.uniform(0.03, 0.16) * octaves(rng, size, 2, 2, 0.6) + rng.normal(-0.03, 0.1))
    picture = image.astype(np.float32) * light[..., None] * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    picture += (rng.uniform(0.75, 1.15) - 1) * (picture - 110)  # contrast
    if (blur := rng.uniform(0.0, 1.1)) > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    picture += rng.uniform(1, 7) * rng.standard_normal(picture.shape, dtype=np.float32)
    return np.clip(picture, 0, 255).astype(np.uint8)
