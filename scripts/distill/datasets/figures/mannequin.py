"""How a posed body looks: the polygons of a figure. Frames as in `skeleton`."""

import numpy as np

from distill.datasets.figures import skeleton
from distill.datasets.figures.patches import CIRCLE, Patch, Pattern, capsule, hull
from distill.datasets.figures.skeleton import (
    FACE,
    FOREARM,
    HEAD,
    PELVIS,
    SHANK,
    SKULL,
    THIGH,
    TORSO,
    UPPER_ARM,
)
from distill.datasets.figures.wardrobe import Outfit

# Decals on the trunk: (x, y) in heights, the pelvis as origin.
_COLLAR = [(-0.045, 0.325), (0.045, 0.325), (0, 0.25)]
_FRONTS = {
    "plain": [],
    "open": [[(-0.03, 0.31), (0.03, 0.31), (0.035, 0.05), (-0.035, 0.05)]],
    "tie": [[(-0.012, 0.29), (0.012, 0.29), (0.018, 0.12), (0, 0.09), (-0.018, 0.12)]],
    "emblem": [[(-0.05, 0.21), (0, 0.24), (0.05, 0.21), (0.03, 0.14), (-0.03, 0.14)]],
    "buttons": [[(-0.01, y), (0, y + 0.01), (0.01, y), (0, y - 0.01)] for y in (0.22, 0.17, 0.12, 0.07)],
}
# Pads from shoulder to ankle: radius in heights, part, and how far they stand out.
_PADS = [
    (0.04, UPPER_ARM, 0.02),
    (0.033, FOREARM, 0.02),
    (0.027, FOREARM, 0.02),
    (0.045, THIGH, 0.03),
    (0.043, SHANK, 0.02),
    (0.03, SHANK, 0.02),
]
_STRAPS = [[(x, 0.32), (x + 0.024, 0.32), (x + 0.024, 0.1), (x, 0.1)] for x in (-0.077, 0.053)]
_NUMBER = [(-0.06, 0.26), (0.06, 0.26), (0.06, 0.19), (-0.06, 0.19)]
_BUCKLE = np.array([(x, y, 0.075) for x in (-0.016, 0.016) for y in (0.005, 0.03)])
# On the head, in units of its half axes.
_NOSE = [(0, 0.15, 0.98), (0, -0.15, 1.2), (0.17, -0.25, 0.95), (-0.17, -0.25, 0.95)]
_MOUTH = [(0.3, -0.52, 0.82), (-0.3, -0.52, 0.82), (0, -0.6, 0.86), (0, -0.47, 0.9)]
_BROW = np.array([(-0.22, 0.42, 0.84), (0.22, 0.42, 0.84), (0.2, 0.5, 0.82), (-0.2, 0.5, 0.82)])


def _sphere(n: int) -> np.ndarray:
    """(n, 3) points spread evenly over the unit sphere (a Fibonacci spiral)."""
    y = 1 - 2 * (np.arange(n) + 0.5) / n
    turn = np.arange(n) * np.pi * (3 - np.sqrt(5))
    return np.stack([np.sqrt(1 - y * y) * np.cos(turn), y, np.sqrt(1 - y * y) * np.sin(turn)], 1)


_BALL = _sphere(260)
_RING = np.insert(CIRCLE, 1, 0, axis=1)  # a level circle around the body


def _disc(at: np.ndarray, radius: float) -> np.ndarray:
    """(n, 3) points of a disc that lies flat on the surface of the head; `at` and they in its half axes."""
    across = np.array([at[2], 0, -at[0]]) / np.hypot(at[0], at[2])
    return at + radius * CIRCLE @ np.stack([across, [0, 1, 0]])


class Figure:
    """A body placed in the image. Attributes: keypoints (17, 2) in pixels; turned_away (17,) bool, whether
    the viewer cannot see a keypoint of the face; patches, in their order of painting.

    height: standing height in pixels.
    centre: where the middle of the keypoints is put, pixels.
    light: −1 … 1, from which side the light comes.
    """

    def __init__(
        self,
        pose: skeleton.Pose,
        shape: skeleton.Shape,
        outfit: Outfit,
        height: float,
        centre: np.ndarray,
        light: float = 0.0,
    ):
        self.body = skeleton.pose_body(pose, shape)
        self.shape, self.outfit, self.height, self.light = shape, outfit, height, light
        flat = self._flat(self.body.joints)
        self._offset = centre - (flat.min(0) + flat.max(0)) / 2
        self.keypoints = self._project(self.body.joints)
        facing = (FACE / np.linalg.norm(FACE, axis=1, keepdims=True)) @ self.body.head[2]
        self.turned_away = np.zeros(17, bool)
        self.turned_away[:5] = facing < [0.0, 0.08, 0.08, -0.4, -0.4]
        self.patches = sorted(self._draw(), key=lambda patch: patch.depth)

    def _flat(self, points: np.ndarray) -> np.ndarray:
        """Weak perspective: what is nearer is a little larger."""
        return points[..., :2] * [1, -1] / (1 - 0.15 * points[..., 2:]) * self.height

    def _project(self, points: np.ndarray) -> np.ndarray:
        return self._flat(np.asarray(points)) + self._offset

    def _draw(self) -> list[Patch]:
        return [*self._draw_trunk(), *self._draw_limbs(), *self._draw_head()]

    def _segment(self, a, b, radius_a, radius_b, colour, part, depth=None) -> list[Patch]:
        """A limb with a lit side. a, b: (3,) in the camera frame; radii in heights."""
        depth = (a[2] + b[2]) / 2 if depth is None else depth
        ends = self._project(np.stack([a, b]))
        radii = np.array([radius_a, radius_b]) * self.height * self.shape.thickness
        colour = np.asarray(colour) * (1 + 0.35 * np.clip(depth, -0.4, 0.4))  # far limbs are in the shade
        patches = [Patch(capsule(*ends, *radii), tuple(colour), part, depth, 0.011 * self.height)]
        if radii.max() > 2:
            lit = capsule(*(ends + radii[:, None] * [0.3 * self.light, -0.2]), *(0.5 * radii))
            patches.append(Patch(lit, tuple(colour * 1.13 + 4), part, depth, gloss=True))
        return patches

    def _pad(self, joint, radius, colour, part, lift) -> Patch:
        """A round pad on a joint, (3,) in the camera frame."""
        at = self._project(joint[None])
        size = radius * self.height * self.shape.thickness
        return Patch(at + size * CIRCLE, tuple(colour), part, joint[2] + lift, 0.006 * self.height)

    def _solid(self, points, colour, part, depth, **more) -> Patch:
        """The hull of (n, 3) points in the camera frame."""
        return Patch(hull(self._project(points)), tuple(colour), part, depth, **more)

    def _draw_trunk(self) -> list[Patch]:
        body, wear, width = self.body, self.outfit, self.shape.width * self.shape.thickness**0.5
        trunk, pelvis, edge = body.trunk, body.pelvis, 0.011 * self.height
        facing, depth = trunk[2, 2], 0.09 * trunk[2, 1]

        def rings(frame, *sizes):  # half width, half depth, height above the pelvis
            return np.concatenate([_RING * [width * x, 0, z] + [0, y, 0] for x, z, y in sizes]) @ frame.T

        def decal(points, colour, z):
            points = np.array([(width * x, y, z) for x, y in points]) @ trunk.T
            patches.append(self._solid(points, colour, TORSO, depth))

        waist = (0.098, 0.065, 0.07)
        seat = rings(pelvis, (0.108, 0.075, 0.04), (0.108, 0.075, -0.04))
        belly = rings(trunk, waist, (0.1, 0.07, 0.03))
        chest = rings(trunk, (0.095, 0.045, 0.325), (0.13, 0.055, 0.285), (0.118, 0.075, 0.2), waist)
        throat = trunk @ [0, 0.3, 0]
        behind = min(depth, throat[2], body.skull[2]) - 0.01
        patches = [
            self._solid(seat, wear.trousers, PELVIS, -0.012, edge=edge),
            self._solid(belly, wear.shirt, TORSO, depth, edge=edge),
            self._solid(chest, wear.shirt, TORSO, depth, edge=edge, pattern=self._pattern()),
            *self._segment(throat, body.skull, 0.03, 0.03, 0.9 * wear.skin, HEAD, behind),
        ]
        if wear.skirt:
            hips, knees = body.joints[11:13], body.joints[13:15]
            hem = (0.45 * hips + 0.55 * knees)[:, None] + _RING * 0.075
            cone = np.concatenate([seat, hem.reshape(-1, 3)])
            patches.append(self._solid(cone, wear.trousers, PELVIS, hem[..., 2].max(), edge=edge))
        if wear.back == "bag":  # no part of the person
            bag = np.concatenate([_RING * [0.075, 0, 0.04] + [0, y, -0.1] for y in (0.08, 0.25)]) @ trunk.T
            patches.append(self._solid(bag, wear.inner, 0, depth - np.copysign(0.02, facing), edge=edge))
        if facing > 0.12:
            decal(_COLLAR, wear.skin, 0.05)
            for points in _FRONTS[wear.front]:
                decal(points, wear.inner, 0.07)
            for points in _STRAPS if wear.back == "bag" else []:
                decal(points, wear.inner, 0.066)
            patches.append(self._solid(_BUCKLE @ pelvis.T, (90, 200, 220), PELVIS, depth + 0.001))
        elif facing < -0.12 and wear.back == "number":
            decal(_NUMBER, wear.inner, -0.07)
        return patches

    def _pattern(self) -> Pattern | None:
        if self.outfit.pattern is None:
            return None
        period, angle, axes = self.outfit.pattern
        up = self.body.trunk[:2, 1] * [1, -1]
        along = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ up
        both = np.stack([along, [-along[1], along[0]]])[:axes] * 2 * np.pi / (period * self.height)
        return Pattern(tuple(0.45 * self.outfit.shirt + 0.55 * self.outfit.inner), both, self._offset)

    def _draw_limbs(self) -> list[Patch]:
        body, wear, patches = self.body, self.outfit, []
        sleeve = wear.shirt if wear.sleeves else wear.skin
        cuff = wear.shirt if wear.sleeves == 2 else wear.skin
        thigh = wear.skin if wear.skirt else wear.trousers
        shank = wear.trousers if wear.legs and not wear.skirt else wear.skin
        for s in range(2):
            shoulder, elbow, wrist, hip, knee, ankle = body.joints[5 + s :: 2]
            far = (elbow[2] + wrist[2]) / 2
            patches += self._segment(shoulder, elbow, 0.04, 0.032, sleeve, UPPER_ARM + s)
            patches += self._segment(elbow, wrist, 0.031, 0.022, cuff, FOREARM + s, far + 0.004)
            patches += self._segment(wrist, body.hands[s], 0.024, 0.02, wear.skin, FOREARM + s, far + 0.005)
            far = (knee[2] + ankle[2]) / 2
            patches += self._segment(hip, knee, 0.056, 0.043, thigh, THIGH + s)
            patches += self._segment(knee, ankle, 0.041, 0.027, shank, SHANK + s, far - 0.003)
            patches += self._segment(body.heels[s], body.toes[s], 0.026, 0.022, wear.shoes, SHANK + s, far)
            worn = zip((shoulder, elbow, wrist, hip, knee, ankle), _PADS, wear.pads, strict=True)
            for joint, (radius, part, lift), colour in worn:
                patches.append(self._pad(joint, radius, colour, part + s, lift))
        return patches

    def _draw_head(self) -> list[Patch]:
        # The half of the head that the viewer sees.
        near = (_BALL / (SKULL * self.shape.head)) @ self.body.head[2] > 0
        return [*self._draw_skull(near), *self._draw_face(), *self._draw_cap(near)]

    def _on_head(self, points, colour, order: int, edge: bool = False) -> Patch:
        """The hull of (n, 3) points on the head, in its half axes; of a higher order is what lies on top."""
        points = self.body.skull + (np.asarray(points) * (SKULL * self.shape.head)) @ self.body.head.T
        depth, width = self.body.skull[2] + 0.02 + 1e-4 * order, 0.009 * self.height if edge else 0.0
        return self._solid(points, colour, HEAD, depth, edge=width)

    def _draw_skull(self, near: np.ndarray) -> list[Patch]:
        """Hair, skin and ears. near: (n,) bool, the points of _BALL that are seen."""
        head, wear, patches = self.body.head, self.outfit, []
        if wear.hairstyle == "long":
            mane = _BALL * [1.12, 1.15, 0.85] + [0, -0.35, -0.35]
            patches.append(self._on_head(mane, wear.hair * 0.85, -9 if head[2, 2] > -0.2 else 9, edge=True))
        top = wear.skin if wear.hairstyle == "bald" else wear.hair
        patches.append(self._on_head(_BALL * 1.03, top, 0, edge=True))
        face = near & ((_BALL[:, 2] > 0.1) & (_BALL[:, 1] < 0.5) | (_BALL[:, 1] < -0.75))
        beard = face & (_BALL[:, 1] < -0.38) & (_BALL[:, 2] > 0)
        for surface, colour in ((face, wear.skin), *([(beard, wear.hair)] if wear.beard else [])):
            if surface.sum() > 2:
                patches.append(self._on_head(_BALL[surface], colour, 1))
        for side, ear in enumerate(FACE[3:]):
            towards = head[2, 0] * (1 - 2 * side)
            if towards > -0.4:
                lobe = ear + _BALL * [0.12, 0.2, 0.2]
                patches.append(self._on_head(lobe, wear.skin * 0.88, 3 if towards > 0 else -1))
        return patches

    def _draw_face(self) -> list[Patch]:
        wear, patches = self.outfit, []
        for eye, away in zip(FACE[1:3], self.turned_away[1:3], strict=True):
            if not away:
                if self.height * self.shape.head > 60:
                    patches.append(self._on_head(_disc(eye, 0.2), (240, 240, 240), 4))
                if wear.headgear == "glasses":
                    patches.append(self._on_head(_disc(eye, 0.32), (60, 45, 40), 4))
                patches.append(self._on_head(_disc(eye, 0.13), (35, 30, 30), 5))
                patches.append(self._on_head(_BROW + eye * [1, 0, 0], wear.hair * 0.7, 5))
        if not self.turned_away[0]:
            patches.append(self._on_head(_NOSE, wear.skin * 0.62, 6))
            patches.append(self._on_head(_MOUTH, (70, 60, 140), 6))
        return patches

    def _draw_cap(self, near: np.ndarray) -> list[Patch]:
        if self.outfit.headgear != "cap":
            return []
        hat, brim = self.outfit.hat, _RING * [0.75, 0, 0.65] + [0, 0.42, 0.95]
        return [
            self._on_head(1.12 * _BALL[near & (_BALL[:, 1] > 0.38)], hat, 7, edge=True),
            self._on_head(brim, hat * 0.8, 8 if self.body.head[2, 2] > 0 else -2, edge=True),
        ]
