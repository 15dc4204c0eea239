"""A model in use: what it says about images or a video of anybody's, under one view or merged over several.

The same steps as in a study, with the same numbers (keypoints but for the rounding of heatmaps in files), a
batch at a time and without files between them. Keypoint models detect boxes and predict the heatmaps of the
plain view in one pass.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from mmengine.structures import InstanceData

from distill import strict
from distill.datasets.keypoint_meta import keypoint_meta
from distill.files import read_json
from distill.models.sources import Image, Part, Pixels
from distill.predictions import boxes as box_math
from distill.predictions.fixed_boxes import fixed
from distill.predictions.heatmap_file import Block
from distill.predictions.heatmaps import Average
from distill.predictions.merge import Boxes, Options, box_records
from distill.predictions.merge_heatmaps import keypoint_records
from distill.predictions.views import View
from distill.program import UserError
from distill.study.schema import defaults, suggestion

PROJECT = Path(__file__).parents[3]


class _Merged(msgspec.Struct):
    views: str
    options: dict[str, Any]


class _Study(msgspec.Struct):
    """All that is taken of study.json."""

    views: dict[str, list[str]]
    merged: dict[str, _Merged]
    fixed_boxes: dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """How images are predicted.

    views: whose predictions are merged.
    options: of merging.
    plain: the view that fixed boxes are detected in.
    fixed_boxes: min_score, per_image.
    """

    views: tuple[View, ...]
    options: Options
    plain: View
    fixed_boxes: dict[str, Any]


def plan_of(model: Path, views: Sequence[str] | None) -> Plan:
    """What the model's study says, of study.json two folders above; without one, the defaults.

    views: the name of one of the study's view sets, or names of views; of these the first is the plain one.
        None: what models are evaluated under where nothing is said.

    Raises UserError for an unknown name.
    """
    for name in ("model.pth", "config.py"):
        if not (model / name).is_file():
            raise UserError(f"{model}: not the folder of a model: there is no {name} in it")
    views = views or defaults(PROJECT, "study", "evaluate")["views"]
    path = model.absolute().parent.parent / "study.json"
    study = None
    if path.is_file():
        study = msgspec.convert(read_json(path, like=_Study), _Study)
    if study and len(views) == 1 and (merged := study.merged.get(views[0])):
        names, given = study.views[merged.views], merged.options
        plain = View.parse(study.views["plain"][0])
    else:
        names = list(views)
        try:
            plain = list(map(View.parse, names))[0]  # noqa: RUF015, all are read
        except UserError as error:
            where = f"the view sets of {path}: {', '.join(study.merged)}" if study else ""
            hint = f"or one of {where}{suggestion(names[0], study.merged)}" if study else _missing(path)
            raise UserError(f"{error}, {hint}") from None
        usual = study.merged["plain"].options if study else defaults(PROJECT, "labels", "merge")
        given = {**usual, "plain": plain.scale}
    parsed = tuple(map(View.parse, names))
    if twice := [view.name for i, view in enumerate(parsed) if view in parsed[:i]]:
        raise UserError(f"the view {twice[0]} is given twice")
    options = strict.options(Options, given, str(path))
    if not options.serves_all_sizes(parsed):
        options = Options(**{**given, "size_dependent": None})
    limits = study.fixed_boxes if study else defaults(PROJECT, "study", "fixed_boxes")
    return Plan(parsed, options, plain, limits)


def _missing(path: Path) -> str:
    return (
        f"and there is no {path} with view sets; name views, or make it: snakemake --configfile … -- {path}"
    )


@dataclass
class _Batch:
    """What is known so far about a few images, by their ids.

    images, lost: records; why they cannot be read.
    boxes: under each view.
    instances: fixed boxes: (n, 4) x, y, w, h, scores, categories; regions: (n, 4) x1, y1, x2, y2.
    maps: heatmaps merged so far.
    """

    images: dict[int, Image] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    boxes: dict[int, list[Boxes]] = field(default_factory=dict)
    instances: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)
    regions: dict[int, np.ndarray] = field(default_factory=dict)
    maps: dict[int, Average] = field(default_factory=dict)


Result = tuple[list[tuple[Image, list[dict]]], list[dict[str, str]]]  # images with records; unreadable ones


class Application:
    """A model, and how it is used.

    predictor: a `Predictor`.
    min_score: the least score of a result.
    """

    def __init__(self, predictor: Any, plan: Plan, min_score: float) -> None:
        self.predictor, self.plan, self.min_score = predictor, plan, min_score
        if "crops" in predictor.kind.can:
            raise UserError(f"{predictor.folder}: estimates the poses of given boxes, and finds none itself")
        self.posed = predictor.meta.get("task") == "keypoints"
        meta = keypoint_meta({"categories": predictor.meta["categories"]}) if self.posed else None
        self.flip_pairs = meta.flip_pairs if meta else ()
        least = max(min_score, plan.fixed_boxes["min_score"])
        self.limits = {**plan.fixed_boxes, "min_score": least}
        # passes: a view each; fixes: whether the first of them is to find the boxes of all
        self.fixes, self.passes, self.step = False, list(plan.views), self._propose
        if self.posed:
            others = (view for view in plan.views if view != plan.plain)
            self.fixes, self.passes, self.step = True, [plan.plain, *others], self._pose
        elif plan.options.boxes == "average":
            if "refine" not in predictor.kind.can:
                raise UserError(f"{predictor.folder}: merge.boxes: its network does not score given boxes")
            self.fixes, self.passes, self.step = True, [plan.plain, *plan.views], self._refine

    def results(self, parts: Iterator[tuple[Part, list[Pixels]]]) -> Iterator[tuple[Part, Result]]:
        """What is found on the images of a source under all of `passes`: (part, images with their records,
        images that cannot be read), whenever a part ends a batch or a shard.

        What the CPU makes of a batch it makes while the device has the next one.
        """
        batch, waiting = _Batch(), None
        with ThreadPoolExecutor(1) as thread:
            for number, (part, pixels) in enumerate(parts):
                self._add(batch, part, pixels)
                if number == 0:
                    self.predictor.check_finite(self.passes[0])
                if not part.ends:
                    continue
                ended: tuple[Part, Future] = part, thread.submit(self._result, batch, part)
                batch = _Batch()
                if waiting:
                    yield waiting[0], waiting[1].result()
                waiting = ended
                if part.ends == "shard":
                    self.predictor.check_finite(self.passes[part.number])
            if waiting:
                yield waiting[0], waiting[1].result()

    def _add(self, batch: _Batch, part: Part, pixels: list[Pixels]) -> None:
        good = []
        for image, one in zip(part.images, pixels, strict=True):
            batch.images[image["id"]] = image
            if isinstance(one, str):
                batch.lost[image["id"]] = one
            elif not (self.fixes and part.number) or len(batch.regions.get(image["id"], ())):
                good.append((image, one))  # in fixed boxes, if it has any
        if good:
            step = partial(self.step, batch, part.number)
            self.predictor.forward(*zip(*good, strict=True), self.passes[part.number], step)

    def _propose(self, batch: _Batch, number: int, records: Sequence[Image], inputs: Any, samples: Any):
        """The model's own boxes under a view."""
        predicted = self.predictor.kind.boxes(self.predictor.network, inputs, samples)
        for image, instances in zip(records, predicted, strict=True):
            found = self.predictor.found(instances)
            mine = self._inverted(image, self.passes[number], found["boxes"], found["scores"])
            columns = (*mine, found["category_ids"], np.full(len(mine[1]), -1))
            batch.boxes.setdefault(image["id"], []).append(columns)

    def _refine(self, batch: _Batch, number: int, records: Sequence[Image], inputs: Any, samples: Any):
        """Fixed boxes in the first pass; what a view makes of them in the others."""
        network, kind, view = self.predictor.network, self.predictor.kind, self.passes[number]
        if not number:
            for image, found in zip(records, kind.boxes(network, inputs, samples), strict=True):
                self._fix(batch, image, self.predictor.found(found))
            return
        rois = self.predictor.rois(records, batch.regions, view, inputs)
        refined = map(self.predictor.refinements, kind.refined(network, inputs, samples, rois))
        for image, (boxes, scores) in zip(records, refined, strict=True):
            _, _, categories = batch.instances[image["id"]]
            rows = np.arange(len(categories))
            chosen = rows, self.predictor.places(categories)
            mine = self._inverted(image, view, boxes[chosen], scores[chosen])
            batch.boxes.setdefault(image["id"], []).append((*mine, categories, rows))

    def _pose(self, batch: _Batch, number: int, records: Sequence[Image], inputs: Any, samples: Any):
        """Fixed boxes in the first pass; heatmaps in them in all."""
        network, kind, view = self.predictor.network, self.predictor.kind, self.passes[number]
        counts = view in self.plan.views

        def choose(found: list[InstanceData]) -> list[torch.Tensor]:
            for image, instances in zip(records, found, strict=True):
                self._fix(batch, image, self.predictor.found(instances))
            return self.predictor.rois(records, batch.regions, view, inputs)

        if number:
            rois = self.predictor.rois(records, batch.regions, view, inputs)
            heatmaps = kind.heatmaps(network, inputs, rois)
        elif counts:
            heatmaps = kind.both(network, inputs, samples, choose)
        else:
            choose(kind.boxes(network, inputs, samples))
            return
        maps = heatmaps.float().cpu().numpy()
        regions = {image["id"]: batch.regions[image["id"]] for image in records}
        starts = np.cumsum([len(boxes) for boxes in regions.values()])[:-1]
        for key, mine in zip(regions, np.split(maps, starts), strict=True):
            if len(mine):
                average = batch.maps.setdefault(key, Average(self.plan.options.average, self.flip_pairs))
                average.add(mine, view, self.plan.options.counting(view, batch.instances[key][0]))

    def _fix(self, batch: _Batch, image: Image, found: dict[str, np.ndarray]) -> None:
        boxes, rows = fixed(found, self.plan.plain, (image["width"], image["height"]), self.limits)
        xywh = np.round(box_math.xyxy_to_xywh(boxes), 3)
        columns = xywh, np.round(found["scores"][rows], 6), found["category_ids"][rows]
        batch.instances[image["id"]] = columns
        batch.regions[image["id"]] = box_math.xywh_to_xyxy(xywh)

    @staticmethod
    def _inverted(
        image: Image, view: View, boxes: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As files of predictions round them, in the image."""
        size = (image["width"], image["height"])
        boxes = box_math.xywh_to_xyxy(np.round(box_math.xyxy_to_xywh(boxes), 3))
        return box_math.clip(view.inverse_boxes(boxes, size), size), np.round(scores, 6)

    def _result(self, batch: _Batch, part: Part) -> Result:
        found = [
            (image, [record for record in self._records(batch, key) if record["score"] >= self.min_score])
            for key, image in batch.images.items()
            if key not in batch.lost
        ]
        lost = [
            {"file_name": batch.images[key]["file_name"], "reason": why} for key, why in batch.lost.items()
        ]
        return found, [*lost, *part.unreadable]

    def _records(self, batch: _Batch, key: int) -> Iterator[dict]:
        if not self.posed:
            if views := batch.boxes.get(key):
                names = [view.name for view in self.plan.views]
                yield from box_records(key, views, self.plan.options, names)
        elif average := batch.maps.get(key):
            xywh, scores, categories = batch.instances[key]
            ids = np.full(len(xywh), key)
            yield from keypoint_records(
                Block((), ids, xywh, scores, categories, xywh), average, self.plan.options
            )
