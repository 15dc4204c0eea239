"""Colours of skin and cloth, and what a figure wears."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Outfit:
    """Colours (BGR) and what is worn."""

    skin: np.ndarray
    hair: np.ndarray
    shirt: np.ndarray
    inner: np.ndarray  # collar, open jacket, emblem
    trousers: np.ndarray
    shoes: np.ndarray
    hat: np.ndarray
    sleeves: int  # 0 none, 1 short, 2 long
    legs: int  # 0 shorts, 1 long
    skirt: bool
    front: str
    back: str
    hairstyle: str
    headgear: str
    beard: bool
    pattern: tuple[float, float, int] | None  # period and angle relative to the trunk, number of axes
    pads: np.ndarray  # (6, 3) shoulder, elbow, wrist, hip, knee, ankle


def cloth(rng: np.random.Generator) -> np.ndarray:
    """A colour that clothes have: from grey to vivid, from dark to light. BGR, 0–255."""
    hue, sat, value = rng.random(), rng.beta(1.3, 1.3), rng.uniform(0.15, 1.0)
    return hsv(hue, 0.12 * sat if rng.random() < 0.25 else sat, value)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """BGR 0–255 of a hue, saturation and value in 0–1."""
    ramp = np.abs((np.array([2.0, 4.0, 0.0]) + 6 * hue) % 6 - 3) - 1
    return 255 * value * (1 - saturation * (1 - np.clip(ramp, 0, 1)))


def skin(rng: np.random.Generator) -> np.ndarray:
    """A skin colour. BGR, 0–255."""
    stops = np.array([[190, 214, 246], [135, 172, 224], [84, 120, 180], [44, 68, 108], [30, 44, 70]], float)
    at = rng.uniform(0, 4)
    low = min(int(at), 3)
    return stops[low] + (at - low) * (stops[low + 1] - stops[low]) + rng.normal(0, 6, 3)


def pads(rng: np.random.Generator) -> np.ndarray:
    """(6, 3) colours of the pads on shoulder, elbow, wrist, hip, knee and ankle.

    The hue tells the joint, so that a small network learns joints within minutes; it does not tell left
    from right, which mirroring an image exchanges.
    """
    hues = np.arange(6) / 6 + rng.normal(0, 0.015, 6)
    return np.stack([hsv(hue, rng.uniform(0.7, 1), rng.uniform(0.65, 1)) for hue in hues])


def sample_outfit(rng: np.random.Generator) -> Outfit:
    """Clothes, hair and what else differs between people."""
    shirt, trousers = cloth(rng), cloth(rng)
    if rng.random() < 0.12:
        trousers = shirt  # an overall
    return Outfit(
        skin=skin(rng),
        hair=hsv(rng.uniform(0.02, 0.13), rng.uniform(0.1, 0.8), rng.beta(1, 2.2)),
        shirt=shirt,
        inner=cloth(rng),
        trousers=trousers,
        shoes=cloth(rng) * rng.uniform(0.3, 1),
        hat=cloth(rng),
        sleeves=int(rng.choice(3, p=[0.15, 0.45, 0.4])),
        legs=int(rng.random() < 0.7),
        skirt=bool(rng.random() < 0.12),
        front=str(rng.choice(["plain", "buttons", "open", "emblem", "tie"], p=[0.25, 0.2, 0.2, 0.25, 0.1])),
        back=str(rng.choice(["plain", "number", "bag"], p=[0.6, 0.2, 0.2])),
        hairstyle=str(rng.choice(["short", "long", "bald"], p=[0.6, 0.3, 0.1])),
        headgear=str(rng.choice(["none", "cap", "glasses"], p=[0.7, 0.18, 0.12])),
        beard=bool(rng.random() < 0.12),
        pattern=(rng.uniform(0.03, 0.1), rng.choice([0, np.pi / 2, 0.6, -0.6]), int(rng.integers(1, 3)))
        if rng.random() < 0.35
        else None,
        pads=pads(rng),
    )
