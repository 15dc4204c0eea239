"""Calibration: score thresholds that give the unlabelled images as many labels as the labelled ones have.

Data Distillation (arXiv 1712.04440), section 4: the threshold on the instance score is the one at which the
mean number of generated instances per image is that of the labelled set; likewise for keypoints per
instance. Of boxes, each category has a threshold of its own (section 6).

That takes labelled and unlabelled images for alike. Where they are not (many of the unlabelled ones hold
nothing, say), the images that the teacher is validated on tell which of its scores to believe.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from distill.datasets.coco import Coco, Record, instances, visible_keypoints
from distill.labels.candidates import candidate_blocks
from distill.program import UserError, log

LEAST_TESTED = 10  # objects of a category on validation images: fewer say little


@dataclass(frozen=True)
class Threshold:
    """A threshold, and how many of the candidates it keeps.

    threshold: scores that reach it are kept; None keeps nothing.
    aimed, met: how many are to be kept, and are; aimed is None where nothing is calibrated.
    candidates: how many there are.
    short: whether they are fewer than aimed at; all are kept then.
    """

    threshold: float | None
    aimed: int | None
    met: int
    candidates: int
    short: bool

    def is_below(self, other: "Threshold") -> bool:
        """Whether both keep something, and this one more."""
        mine, others = self.threshold, other.threshold
        return mine is not None and others is not None and mine < others

    def at(self, threshold: float | None, scores: np.ndarray, short: bool) -> "Threshold":
        """The same aim, of candidates with these scores (n,), at another threshold."""
        met = 0 if threshold is None else int((scores >= threshold).sum())
        return Threshold(threshold, self.aimed, met, self.candidates, short)


@dataclass(frozen=True)
class Options:
    """The calibrate options of a study, whose defaults are in its schema. Raises UserError for values out of
    range.

    instances: instances per image, as a multiple of the labelled images' mean; None keeps all.
    aim: "labelled": that mean is the number to expect; "validation": as many as reach the score at which
        there are as many predictions on the validation images as instances.
    per: "category", a threshold for each, or "all", one for all of them.
    keypoints: keypoints per instance, as a multiple of the labelled instances' mean; None keeps all.
    score_floor: instances of a lower score never count.
    agnostic_nms: see `candidates.candidate_blocks`.
    ignore: instances up to this multiple of the labels' number are neither labels nor background; None: all
        that are no labels are background.
    rare: with one for each, categories of fewer labelled instances have at least the threshold that all
        others together would have, if that keeps any.
    """

    instances: float | None
    aim: str
    per: str
    keypoints: float | None
    score_floor: float
    agnostic_nms: float | None
    ignore: float | None
    rare: int

    def __post_init__(self) -> None:
        for name, known in (("per", ("category", "all")), ("aim", ("labelled", "validation"))):
            if getattr(self, name) not in known:
                raise UserError(f"calibrate: {name} is {getattr(self, name)!r}; it is {' or '.join(known)}")
        for name in ("instances", "keypoints"):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"calibrate: {name} is {getattr(self, name)}; it is at least 0, or null")
        if self.ignore is not None and self.ignore < 1:
            raise UserError(f"calibrate: ignore is {self.ignore}; it is at least 1, or null")
        if self.agnostic_nms is not None and not 0 < self.agnostic_nms <= 1:
            raise UserError(
                f"calibrate: agnostic_nms is {self.agnostic_nms}; it is above 0 and up to 1, or null"
            )


def at_rank(scores: np.ndarray, rank: int) -> Threshold:
    """The threshold that keeps the `rank` highest of `scores` (n,), as nearly as ties allow.

    Scores that tie at the rank are kept all or none, by the closer count; all if both are as close, and where
    none is higher: of predictions without scores all are as good.
    """
    n = len(scores)
    if rank <= 0 or n == 0:
        return Threshold(None, rank, 0, n, short=rank > n)
    if rank >= n:
        return Threshold(float(scores.min()), rank, n, n, short=rank > n)
    tie = np.partition(scores, n - rank)[n - rank]
    higher = scores[scores > tie]
    with_ties = int((scores >= tie).sum())
    if not len(higher) or with_ties - rank <= rank - len(higher):
        return Threshold(float(tie), rank, with_ties, n, short=False)
    return Threshold(float(higher.min()), rank, len(higher), n, short=False)


# Of n candidates: category (n,), a position in the labelled dataset's list; score (n,); keypoint scores (m,
# K) of the m candidates that have keypoints, or None; the rows of these (m,).
Scores = tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]


def collect(paths: Sequence[str | Path], dataset: Coco, labelled: Coco, agnostic_nms: float | None) -> Scores:
    """What `thresholds` needs of all candidates in the files. labelled: the COCO dict whose categories labels
    have. The other arguments and errors: as of `candidate_blocks`."""
    categories, possible = labelled["categories"], {a["category_id"] for a in instances(labelled)}
    ids = np.array([c["id"] for c in categories], dtype=np.int64)
    order = np.argsort(ids)
    has_keypoints = np.array([bool(c.get("keypoints")) for c in categories], dtype=bool)
    category, score, keypoint_score, posed = array("h"), array("d"), array("d"), array("q")
    blocks = (candidate_blocks(path, dataset, categories, agnostic_nms, possible=possible) for path in paths)
    for block in chain.from_iterable(blocks):
        posed.frombytes((len(score) + np.flatnonzero(block.posed)).tobytes())
        keypoint_score.frombytes(block.keypoints[..., 2].tobytes())
        category.frombytes(order[np.searchsorted(ids, block.category_id, sorter=order)].astype("h").tobytes())
        score.frombytes(block.score.tobytes())
    place = np.asarray(category)
    expected = has_keypoints[place].sum() if has_keypoints.any() else 0
    if len(posed) not in (0, expected):
        raise UserError(f"{paths[0]}: {expected - len(posed)} of {expected} predictions lack keypoints")
    points = np.asarray(keypoint_score).reshape(len(posed), -1) if len(posed) else None
    return place, np.asarray(score), points, np.asarray(posed)


def calibrate(
    merged: str | Path,
    dataset: Coco,
    labelled: Coco,
    options: Options,
    validated: tuple[str | Path, Coco] | None = None,
) -> dict[str, Any]:
    """The content of thresholds.json.

    A category without a labelled instance gets no labels.

    merged: COCO results on the unlabelled dataset.
    dataset: the unlabelled COCO dict; all of its images count, also those without a prediction.
    labelled: the COCO dict whose instances per image are aimed at. Crowd regions are no instances; images
        without any count, too.
    options: as in the study.
    validated: COCO results, predicted and merged in the same way, and the COCO dict of the validation images;
        for `aim: validation`.

    Raises UserError where the labelled dataset has no images, and as `candidate_blocks`.
    """
    scores = collect([merged], dataset, labelled, options.agnostic_nms)
    if validated is None:
        return thresholds(scores, dataset, labelled, options)
    path, truth = validated
    seen = collect([path], truth, labelled, options.agnostic_nms), truth
    return thresholds(scores, dataset, labelled, options, seen)


@dataclass(frozen=True)
class _Aim:
    """What says how many labels there are to be.

    labelled, unlabelled: how many images.
    counts, tested: (categories,) instances on labelled and on validation images.
    scores, seen: of each category, those of the candidates on unlabelled and on validation images.
    """

    options: Options
    labelled: int
    unlabelled: int
    counts: np.ndarray
    scores: list[np.ndarray]
    tested: np.ndarray
    seen: list[np.ndarray]

    def threshold(self, which: np.ndarray, times: float = 1) -> Threshold:
        """Of some categories together, by their places in the list."""
        scores, seen = (
            np.concatenate([np.empty(0), *(of[i] for i in which)]) for of in (self.scores, self.seen)
        )
        scores = scores[scores >= self.options.score_floor]
        if self.options.instances is None:
            return Threshold(self.options.score_floor, None, len(scores), len(scores), short=False)
        aimed = times * self.options.instances
        tested = int(self.tested[which].sum())
        believed = at_rank(seen, tested)
        if tested >= LEAST_TESTED and not believed.short:
            return at_rank(scores, round(aimed * int((scores >= believed.threshold).sum())))
        return at_rank(scores, round(aimed * int(self.counts[which].sum()) * self.unlabelled / self.labelled))


def thresholds(
    scores: Scores,
    dataset: Coco,
    labelled: Coco,
    options: Options,
    validated: tuple[Scores, Coco] | None = None,
) -> dict[str, Any]:
    """As `calibrate`, of scores that `collect` gave; with the same `agnostic_nms` as the options'."""
    category, score, points, rows = scores
    n_labelled, n_unlabelled = len(labelled["images"]), len(dataset["images"])
    if not n_labelled:
        raise UserError("calibrate: the labelled dataset has no images to take the mean over")
    real = instances(labelled)
    ids = [c["id"] for c in labelled["categories"]]
    counts, scores_of = _counts(labelled, ids), _by_category(category, score, len(ids))
    tested, seen = np.zeros(len(ids), int), [np.empty(0)] * len(ids)
    if validated:
        tested, seen = _counts(validated[1], ids), _by_category(*validated[0][:2], len(ids))
    threshold = _Aim(options, n_labelled, n_unlabelled, counts, scores_of, tested, seen).threshold

    def entry(name: str, found: Threshold, count: int) -> dict[str, Any]:
        means = {"mean_labelled": count / n_labelled, "mean_met": found.met / max(n_unlabelled, 1)}
        return {"name": name, **asdict(found), **means}

    possible = np.flatnonzero(counts)
    shared = threshold(possible) if options.per == "all" else None
    band = threshold(possible, options.ignore) if shared and options.ignore is not None else None
    common = counts >= options.rare
    usual = threshold(np.flatnonzero(common)) if options.rare else None
    entries, limits = {}, np.full(len(ids), np.inf)
    for i, (c, count, mine) in enumerate(
        zip(labelled["categories"], counts.tolist(), scores_of, strict=True)
    ):
        found, raised = threshold(np.array([i])), False
        if validated and count and (tested[i] < LEAST_TESTED or len(seen[i]) < tested[i]):
            what = "%s: %d predictions of %d objects validated on are too few: by the mean of labelled images"
            log.info(what, c["name"], len(seen[i]), tested[i])
        if not count:  # also where all are kept: nothing says what such a label should be
            found = Threshold(None, 0, 0, found.candidates, short=False)
        elif shared:
            found = found.at(shared.threshold, mine, shared.short)
        elif usual and not common[i] and found.is_below(usual):
            found, raised = found.at(usual.threshold, mine, short=False), True
        if found.threshold is not None:
            limits[i] = found.threshold
        entries[str(c["id"])] = entry(c["name"], found, count) | ({"raised": True} if raised else {})
        if options.ignore is not None:
            limit = band or threshold(np.array([i]), options.ignore)
            entries[str(c["id"])]["ignored_from"] = limit.threshold if count else None
        _log(c["name"], found)

    kept = score[rows] >= limits[category[rows]]
    return {
        "instances": entries,
        "keypoints": None if points is None else _keypoints(points[kept], real, options.keypoints),
        "agnostic_nms": options.agnostic_nms,
        "images": {"labelled": n_labelled, "unlabelled": n_unlabelled},
    }


def _counts(dataset: Coco, ids: list[int]) -> np.ndarray:
    """(categories,) their instances."""
    found = Counter(a["category_id"] for a in instances(dataset))
    return np.array([found[category] for category in ids], int)


def _by_category(category: np.ndarray, score: np.ndarray, count: int) -> list[np.ndarray]:
    """The scores of each category, without a pass over all of them for each. category: of each score."""
    order = np.argsort(category, kind="stable")
    return np.split(score[order], np.cumsum(np.bincount(category, minlength=count))[:-1])


def _keypoints(points: np.ndarray, real: Sequence[Record], multiplier: float | None) -> dict[str, Any]:
    """One threshold on the keypoint scores (m, K) of the m kept instances; 0 means outside the image."""
    posed = [count for a in real if (count := visible_keypoints(a))]
    scores = points[points > 0]
    if multiplier is None:
        found = Threshold(0.0, None, len(scores), len(scores), short=False)
    else:
        found = at_rank(scores, round(multiplier * sum(posed) * len(points) / max(len(posed), 1)))
    _log("keypoints", found)
    return {
        **asdict(found),
        "instances": len(points),
        "mean_labelled": sum(posed) / max(len(posed), 1),
        "mean_met": found.met / max(len(points), 1),
    }


def _log(name: str, found: Threshold) -> None:
    if found.short:
        log.info("%s: only %d candidates for the %d aimed at: all taken", name, found.candidates, found.aimed)
    else:
        values = (name, found.threshold, found.met, found.candidates, found.aimed)
        log.info("%s: threshold %s keeps %d of %d candidates, aimed at %s", *values)
