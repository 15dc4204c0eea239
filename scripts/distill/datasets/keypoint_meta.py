"""What a dataset's keypoints are: names, left/right pairs, skeleton, and the sigmas that OKS needs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from distill.datasets.coco import Coco
from distill.program import UserError

# OKS constants of COCO's 17 keypoints, by name (pycocotools' `kpt_oks_sigmas`).
_COCO_SIGMAS = {
    "nose": 0.026, "eye": 0.025, "ear": 0.035, "shoulder": 0.079, "elbow": 0.072, "wrist": 0.062,
    "hip": 0.107, "knee": 0.087, "ankle": 0.089,
}  # fmt: skip
_PAIRED = [part for part in _COCO_SIGMAS if part != "nose"]
COCO_KEYPOINTS = ("nose", *(f"{side}_{part}" for part in _PAIRED for side in ("left", "right")))
DEFAULT_SIGMA = 0.05


@dataclass(frozen=True)
class KeypointMeta:
    """The one definition shared by all keypoint categories of a dataset. Keypoints are counted from 0."""

    names: tuple[str, ...]  # K
    flip_pairs: tuple[tuple[int, int], ...]  # left and right partners, 0-based
    skeleton: tuple[tuple[int, int], ...]  # lines to draw, 0-based (files count from 1)
    sigmas: tuple[float, ...]  # K, OKS constants as pycocotools takes them

    @property
    def flip_indices(self) -> tuple[int, ...]:
        """(K,) the channel that each channel becomes when the image is mirrored."""
        indices = list(range(len(self.names)))
        for a, b in self.flip_pairs:
            indices[a], indices[b] = b, a
        return tuple(indices)


def keypoint_meta(dataset: Coco) -> KeypointMeta | None:
    """The keypoint definition of a dataset (COCO dict), None where no category has keypoints.

    Sigmas: the category's own if it has them; pycocotools' for COCO's 17 keypoints; else 0.05 for each, about
    the geometric mean of COCO's 0.025 (eyes) and 0.107 (hips). A uniform value only shifts AP as a whole;
    comparisons between models of one dataset keep their meaning, comparisons with other datasets have none.

    Raises UserError where two categories disagree.
    """
    categories = [c for c in dataset["categories"] if c.get("keypoints")]
    for category in categories[1:]:
        for key in ("keypoints", "flip_pairs", "sigmas"):
            if category.get(key) != categories[0].get(key):
                raise UserError(
                    f"categories {categories[0]['name']!r} and {category['name']!r} disagree on {key}: "
                    "give both one list of all names; of keypoints that an object has not, x, y and v are 0"
                )
    if not categories:
        return None
    first = categories[0]
    names = tuple(first["keypoints"])
    pairs = first["flip_pairs"] if "flip_pairs" in first else derive_flip_pairs(names)
    return KeypointMeta(
        names=names,
        flip_pairs=tuple((a, b) for a, b in pairs),
        skeleton=tuple((a - 1, b - 1) for a, b in first.get("skeleton", ())),
        sigmas=tuple(first.get("sigmas") or default_sigmas(names)),
    )


def default_sigmas(names: Sequence[str]) -> tuple[float, ...]:
    """(K,) pycocotools' sigmas if these are COCO's 17 keypoints, else `DEFAULT_SIGMA` for each."""
    if tuple(names) == COCO_KEYPOINTS:
        return tuple(_COCO_SIGMAS[name.split("_")[-1]] for name in names)
    return (DEFAULT_SIGMA,) * len(names)


def derive_flip_pairs(names: Sequence[str]) -> list[list[int]]:
    """Pairs of keypoints whose names differ in their sides only, 0-based: left_eye/right_eye, l_eye/r_eye,
    eye.L/eye.R, LeftEye/RightEye, LEye/REye, … Of a name with several sides a mirror changes all of them
    (left_eye_left_corner/right_eye_right_corner), or, where nothing is called so, the words alone (L1_left).
    A name without a partner stays unpaired."""
    index = {name: k for k, name in enumerate(names)}
    partner: dict[int, int] = {}
    for sides in (_SIDES, _WORDS, _LETTERS, _ANYWHERE):
        for name, k in index.items():
            if sides is _ANYWHERE and _SIDES.search(name):
                continue
            other = index.get(sides.sub(lambda match: _OPPOSITE[match.group()], name), k)
            if other != k and not partner.keys() & {k, other}:
                partner |= {k: other, other: k}
    return [[k, other] for k, other in sorted(partner.items()) if k < other]


def contradiction(names: Sequence[str], pairs: Sequence[Sequence[int]]) -> str:
    """What the names say against pairs (0-based) that are given, in a few words; empty if nothing."""
    partner = {k: other for pair in derive_flip_pairs(names) for k, other in (pair, pair[::-1])}
    for a, b in pairs:
        if partner.get(a, b) != b or partner.get(b, a) != a:
            found = f"flip_pairs has {names[a]!r} and {names[b]!r} change places in a mirror"
            return f"{found}; by their names they do not (flip_pairs counts from 0, skeleton from 1)"
    return ""


_PAIRS = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("l", "r"), ("L", "R"))
_OPPOSITE = {side: other for pair in _PAIRS for side, other in (pair, pair[::-1])}
_WORD = r"(?<![A-Za-z])(?:left|right|LEFT|RIGHT)|(?<![A-Z])(?:Left|Right)"  # no bright, no upright
_PART = "left|right|Left|Right|LEFT|RIGHT"  # eyeleft, where no name says its side better
_ALONE = r"(?<![A-Za-z])[lrLR](?![A-Za-z])"  # l_eye, eye.L, L1
_CAMEL = r"^[LR](?=[A-Z][a-z])|^[lr](?=[A-Z])|(?<=[a-z])[LR]$"  # LEye, lEye, eyeL
_SIDES, _WORDS, _LETTERS, _ANYWHERE = (
    re.compile("|".join(patterns))
    for patterns in ((_WORD, _ALONE, _CAMEL), (_WORD,), (_ALONE, _CAMEL), (_PART,))
)
