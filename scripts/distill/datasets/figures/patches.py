"""Coloured polygons, and the canvas that they are painted on."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from distill.datasets.figures.skeleton import PARTS

FINE = 2  # canvas pixels per image pixel, for smooth edges
PAPER = 215  # the grey of a sketch's background
_TURNS = np.linspace(0, 2 * np.pi, 16, endpoint=False)
CIRCLE = np.stack([np.cos(_TURNS), np.sin(_TURNS)], 1)


class Pattern(NamedTuple):
    """Stripes (one axis) or checks (two) in a second colour; the axes are in radians per pixel."""

    colour: tuple[float, ...]
    axes: np.ndarray  # (1 or 2, 2)
    anchor: np.ndarray  # (2,)


@dataclass(frozen=True)
class Patch:
    """A filled polygon in image pixels; patches are painted in the order of `depth`, farthest first."""

    points: np.ndarray  # (n, 2)
    colour: tuple[float, ...]  # BGR, 0–255
    part: int = 0
    depth: float = 0.0
    edge: float = 0.0  # width in pixels of the darker contour
    pattern: Pattern | None = None
    gloss: bool = False  # a lit spot only, without a contour of its own


def hull(points: np.ndarray) -> np.ndarray:
    """(m, 2) corners of the convex hull of (n, 2) points."""
    return cv2.convexHull(points.astype(np.float32))[:, 0]


def capsule(a: np.ndarray, b: np.ndarray, radius_a: float, radius_b: float) -> np.ndarray:
    """The outline (m, 2) of a limb: the hull of two circles."""
    return hull(np.concatenate([a + radius_a * CIRCLE, b + radius_b * CIRCLE]))


class Canvas:
    """Paints patches on the image and keeps who is on top at each pixel."""

    def __init__(self, image: np.ndarray, style: str):
        self.colours = cv2.resize(image, None, fx=FINE, fy=FINE, interpolation=cv2.INTER_LINEAR)
        self.owners = np.zeros(self.colours.shape[:2], np.uint16)
        self.style = style

    def paint(self, patch: Patch, figure: int) -> None:
        """figure: 0 for objects, else 1, 2, …"""
        corners = np.round((patch.points * FINE - 0.5) * 16).astype(np.int32)
        colour, owner = patch.colour, figure * PARTS + patch.part if patch.part else 0
        contour, width = tuple(0.72 * np.array(colour)), round(patch.edge * FINE)
        if self.style == "sketch":
            if patch.gloss:
                return
            colour = tuple(PAPER + 0.3 * (np.array(colour) - 255))
            contour, width = (50, 45, 45), FINE
        if width:
            cv2.polylines(self.colours, [corners], True, contour, width, cv2.LINE_8, 4)
            cv2.polylines(self.owners, [corners], True, owner, width, cv2.LINE_8, 4)
        cv2.fillPoly(self.colours, [corners], colour, cv2.LINE_8, 4)
        cv2.fillPoly(self.owners, [corners], owner, cv2.LINE_8, 4)
        if patch.pattern and self.style != "sketch":
            self._weave(patch.pattern, corners)

    def _weave(self, pattern: Pattern, corners: np.ndarray) -> None:
        x, y, w, h = cv2.boundingRect(corners)  # in sixteenths of a canvas pixel
        rows = slice(max(y // 16, 0), max((y + h) // 16 + 1, 0))
        columns = slice(max(x // 16, 0), max((x + w) // 16 + 1, 0))
        window = self.colours[rows, columns]
        if window.size == 0:
            return
        inside = np.zeros(window.shape[:2], np.uint8)
        cv2.fillPoly(inside, [corners - [columns.start * 16, rows.start * 16]], 1, cv2.LINE_8, 4)
        row, column = np.indices(inside.shape)
        place = np.stack([column + columns.start, row + rows.start]) / FINE - pattern.anchor[:, None, None]
        waves = np.sin(np.tensordot(pattern.axes, place, 1))
        window[(waves.prod(0) > 0) & (inside > 0)] = pattern.colour
