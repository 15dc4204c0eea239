"""A study that fits somebody's data: network, scales, lengths and splits, from what the data are.

Numbers follow the studies of config/ that were measured: an object must cover so many pixels in training that
an anchor finds it, few images are seen often, and a student trains as long as its baseline.
"""

import math
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.predictions.views import View
from distill.program import UserError
from distill.study.facts import RARE, VALIDATED, Facts
from distill.study.lengths import LEAST, automatic_length

STEP = 16  # pixels, of sides
SMALL = {"cpu": 12, "gpu": 24}  # pixels, of the small objects in training
POSED = {"cpu": 96, "gpu": 192}  # pixels, of an object whose keypoints are to be told apart
LEAST_SIDE = 64  # pixels, of whatever images
SIDES = {"cpu": (128, 256), "gpu": (480, 800)}  # pixels, least and most of the shorter side
NETWORKS = {  # by what is annotated, and the device
    ("boxes", "cpu"): "faster_rcnn_lite",
    ("keypoints", "cpu"): "keypoint_rcnn_lite",
    ("boxes", "gpu"): "faster_rcnn_r50_fpn",
    ("keypoints", "gpu"): "keypoint_rcnn_r50_fpn",
}
ITERATIONS = {"boxes": (1000, 1500), "keypoints": (1500, 3000)}  # on a CPU, least and most …
PER_IMAGE, PER_CATEGORY = 6, 20  # … and for each labelled image, and each category
FEW = 100  # labelled images
VARIED, EACH = 10, 5  # of so many categories, fewer labelled images of each are drawn as often as others
RATIO, RATIO_OF_FEW = (6, 4), (1, 3)  # labelled to generated images; where they are few beside the others
MERGE = {"vote": 0.6, "score": "quasi_sum", "beta": 0.3}  # of boxes: docs/results.md
LONGER = {"boxes": 1.5, "keypoints": 2}  # a teacher's, that is to be done: docs/results.md
PASSES = 4  # over the unlabelled images, at least: on a CPU, more would be predicted and not learned from …
SPARE = 1.25  # … but where there are hardly more, all are taken, so that some can be taken out later
GPU_BATCH = 16
USUAL_SIDE = 1333  # pixels, the longer side in training, of large networks
OF_ONE_SIZE = 1.6  # large objects by small ones
PER_LABELLED = 10  # frames of all videos, for each labelled image
FRAMES = 1000  # of a video, at most


@dataclass(frozen=True)
class Sources:
    """Where the data are, as entries of `datasets`; what is None is made of the labelled images.

    hide: the share of labelled images whose labels are hidden, for an upper bound, or 0.
    unlabelled_images: how many are given, beside `shared` annotated ones that are among them.
    only_annotated: whether labelled images without an annotation are left out.
    copies: of a sample of unlabelled images, how many look like some that may be validated on; its size.
    aspect: of this sample, as of `Facts`, or 0.
    stretch: from where to where in their order, in fractions, frames to validate on are among them.
    """

    labelled: dict[str, Any]
    unlabelled: dict[str, Any] | None
    val: dict[str, Any] | None
    hide: float
    unlabelled_images: int = 0
    shared: int = 0
    only_annotated: bool = False
    copies: tuple[int, int] = (0, 0)
    aspect: float = 0
    stretch: tuple[float, float] | None = None


def frames_each(labelled: int, videos: int) -> int:
    """How many frames of each video make unlabelled images enough for so many labelled ones."""
    return int(np.clip(math.ceil(PER_LABELLED * labelled / videos), 1, FRAMES))


def check_parts(found: Facts, sources: Sources) -> None:
    """Raises UserError where a part that the study makes of the labelled images would be empty."""
    images, of = found.images, f"{found.images} labelled images"
    if sources.val is None:
        images = int((1 - VALIDATED) * images + 0.5)
        if not 0 < images < found.images:
            raise UserError(f"{of}: a fifth of them is none, to validate on; annotate more, or give --val")
        of += ", of which a fifth is for validation"
    if sources.hide and not 0 < (left := int((1 - sources.hide) * images + 0.5)) < images:
        what = "leaves no labels" if left == 0 else "hides none"
        raise UserError(
            f"--hide {sources.hide:g}: of {of}, that {what}; choose another share, or annotate more"
        )


def amounts(found: Facts, sources: Sources) -> tuple[float, float]:
    """How many images are learned from with their labels, and how many without."""
    learned = found.images * (1 if sources.val else 1 - VALIDATED)
    return learned * (1 - sources.hide), learned * sources.hide + sources.unlabelled_images


def longest_shorter_side(aspect: float) -> int:
    """Of images with this aspect: in a larger view the longer side, which is limited, decides."""
    return max(LEAST_SIDE, STEP * int(View.max_side / aspect / STEP))


def training_side(found: Facts, device: str, aspect: float) -> int:
    """The shorter side, in pixels, at which objects are large enough, within what the device bears, half as
    much again as the images have, and what views of this aspect can show."""
    least, most = SIDES[device]
    wanted = SMALL[device] / found.sizes[0]
    if found.keypoints:
        wanted = max(wanted, POSED[device] / found.posed)
    side = int(np.clip(_step(wanted), least, max(least, min(most, _step(1.5 * found.side)))))
    return min(side, longest_shorter_side(aspect))


def view_sides(found: Facts, side: int, device: str, aspect: float) -> list[int]:
    """Around that of training; as far as the paper's (half to one and a half) where there is a GPU, less far
    where objects are all of one size. None is larger than what views of this aspect can show."""
    if found.sizes[2] <= OF_ONE_SIZE * found.sizes[0]:
        sides = [side - 2 * STEP, side - STEP, side, side + STEP]
    elif device == "gpu":
        sides = [_step(side * share) for share in np.linspace(0.5, 1.5, 9)]
    else:
        sides = [_step(side * share) for share in (0.82, 1, 1.18)]
    return sorted({each for each in sides if each <= longest_shorter_side(aspect)})


def config(found: Facts, sources: Sources, results: str, device: str) -> dict[str, Any]:
    """The configuration of the study.

    results: its folder of results. device: cpu or gpu.
    """
    aspect = max(found.aspect, sources.aspect)
    side = training_side(found, device, aspect)
    labelled, others = amounts(found, sources)
    counts = [count * labelled / found.images for count in found.counts.values() if count]
    varied = len(counts) > VARIED and labelled < EACH * len(counts)
    ratio = _ratio(labelled, others, device == "gpu" or labelled < FEW, varied)
    model: dict[str, Any] = {"config": NETWORKS[found.task, device]}
    teacher: dict[str, Any] = {}
    longest_side = min(_step((side + STEP) * aspect) + STEP, View.max_side)
    if device == "cpu":
        model["scales"] = [side - 2 * STEP, side - STEP, side, side + STEP]
        model["max_side"] = longest_side
        model |= {"batch": 4, "lr": 0.0016} if labelled < FEW and not varied else {"batch": 8}
        wanted = max(PER_IMAGE * labelled, PER_CATEGORY * len(counts))
        model["iterations"] = int(np.clip(wanted, *ITERATIONS[found.task])) // 100 * 100
        baseline: dict[str, Any] = {"init": "teacher"}  # short trainings have not learned all that they can
        longer = round(LONGER[found.task] * model["iterations"])
        teacher = {"augment": "strong", "iterations": longer}
        most = drawn(model, max(ratio, RATIO, key=lambda r: r[1] / r[0])) // PASSES  # of few, all are taken
    else:
        model["scales"] = [_step(side * share) for share in np.linspace(0.8, 1, 6)]
        if longest_side > USUAL_SIDE:  # wide images are trained on as large as they are predicted
            model["max_side"] = longest_side
        model["iterations"] = "auto"
        longest = automatic_length(round(labelled + others), GPU_BATCH, student=True)
        if automatic_length(round(labelled), GPU_BATCH) == LEAST:
            teacher = {"augment": "strong", "iterations": round(LONGER[found.task] * LEAST)}
            longest = max(longest, teacher["iterations"])
        baseline = {"iterations": 100 * round(longest / 100)}
        most = sources.unlabelled_images
    model["augment"] = "weak"
    models, table = _models(teacher, ratio, baseline, sources.hide > 0)
    options: dict[str, Any] = {"merge": dict(MERGE)} if found.task == "boxes" else {}
    if min(counts) < RARE <= max(counts):
        options["calibrate"] = {"rare": RARE}
    return {
        "results": results,
        "model": model,
        "datasets": dict(_datasets(sources, found, most)),
        "views": {
            "plain": [{"scale": side}],
            "all": {"scales": view_sides(found, side, device, aspect), "flip": True},
        },
        **options,
        "models": models,
        "labels": {"distilled": {}},
        "tables": {"results": table},
    }


def _ratio(labelled: float, others: float, seen_often: bool, varied: bool) -> tuple[int, int]:
    """Labelled to generated images: no image is drawn far more often than one of the other kind.

    seen_often: whether a training draws the labelled images so often that fewer of them do no harm.
    varied: whether there are few of each category.
    """
    if others * RATIO[0] < labelled * RATIO[1]:
        return max(RATIO[0], round(RATIO[1] * labelled / max(1, others))), RATIO[1]
    return RATIO_OF_FEW if seen_often and others > 5 * labelled and not varied else RATIO


def drawn(model: Mapping[str, Any], ratio: tuple[int, int]) -> int:
    """How many unlabelled images a student draws, one by one, that is trained so at this ratio."""
    return model["iterations"] * model["batch"] * ratio[1] // sum(ratio)


def _models(
    teacher: dict[str, Any], ratio: tuple[int, int], baseline: dict[str, Any], hidden: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The models, and the table of them.

    teacher: its options.
    ratio: labelled to generated images.
    baseline: the options of the supervised model that are the student's too.
    hidden: whether there are labels for an upper bound.
    """
    student: dict[str, Any] = {"labels": "distilled", **baseline}
    student["augment"] = {"labelled": "weak", "generated": "strong"}
    if ratio != RATIO:
        student["ratio"] = list(ratio)
    supervised = {**baseline, "augment": "strong"}  # with all the help that the student has
    models: dict[str, Any] = {"teacher": teacher, "supervised": supervised, "student": student}
    table: dict[str, Any] = {"rows": ["teacher", {"model": "teacher", "views": "all"}, *list(models)[1:]]}
    if hidden:
        models["upper"] = {"labelled": "annotated", **supervised}
        table["rows"].append("upper")
        table["gap"] = {"baseline": ["teacher", "supervised"], "student": "student", "upper": "upper"}
    return models, table


def _datasets(sources: Sources, found: Facts, most: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Validation images are set aside first, then those whose labels are hidden. Frames are split by time.

    most: how many unlabelled images are taken.
    """
    name, own, val = "labelled", sources.labelled, sources.val
    frames = found.frames
    if sources.only_annotated:
        yield "listed", own
        own = {"kind": "subset", "of": "listed", "annotated": True}
        if val:
            yield "val_listed", val
            val = {"kind": "subset", "of": "val_listed", "annotated": True}
    if val is None:
        yield "everything", own
        part: dict[str, Any] = {"range": [1 - VALIDATED, 1]} if frames else {"fraction": VALIDATED}
        yield "val", {"kind": "subset", "of": "everything", **part}
        own = {"kind": "subset", "of": "everything"}
        own |= {"range": [0, 1 - VALIDATED]} if frames else {}
        own |= {"exclude": "val"} if found.parted or not frames else {}
    else:
        yield "val", val
    if not sources.hide:
        yield name, own
    else:
        yield "annotated", own
        part = (
            {"range": [0, round(1 - sources.hide, 4)]} if frames else {"fraction": round(1 - sources.hide, 4)}
        )
        yield name, {"kind": "subset", "of": "annotated", **part}
    hidden = {"kind": "subset", "of": "annotated", "exclude": "labelled", "strip_annotations": True}
    given = yield from _taken(sources, most)
    match given, bool(sources.hide):
        case None, _:
            yield "unlabelled", hidden
        case given, False:
            yield "unlabelled", given
        case given, True:
            yield "hidden", hidden
            yield "more", given
            yield "unlabelled", {"kind": "union", "of": ["hidden", "more"]}


def _taken(sources: Sources, most: int) -> Generator[tuple[str, dict[str, Any]], None, dict[str, Any] | None]:
    """The given images of which unlabelled ones are taken, `most` of them; returns the entry of these."""
    given = sources.unlabelled
    taken: dict[str, Any] = {}
    left = sources.unlabelled_images
    if sources.stretch:  # neighbours of frames to validate on stay out too
        start, end = sources.stretch
        left = int((1 - end + start) * (left + sources.shared)) - sources.shared
        kept = [[a, b] for a, b in ((0, start), (end, 1)) if a < b]
        if len(kept) == 1:
            taken["range"] = kept[0]
        else:
            yield "whole", sources.unlabelled or {}
            for part_of, bounds in zip(("before", "after"), kept, strict=True):
                yield part_of, {"kind": "subset", "of": "whole", "range": bounds}
            given = {"kind": "union", "of": ["before", "after"]}
    if left > SPARE * most:
        taken["images"] = most
    if sources.shared:
        known = ["val", "annotated" if sources.hide else "labelled"]
        taken = {"exclude": known, **taken, "strip_annotations": True}
    if given and taken:
        yield "pool", given
        return {"kind": "subset", "of": "pool", **taken}
    return given


def _step(value: float) -> int:
    return STEP * round(float(value) / STEP)
