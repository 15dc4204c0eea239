"""A model in use: what it says about images or a video of anybody's, under one view or merged over several.

The same steps as in a study, with the same numbers (keypoints but for the rounding of heatmaps in files; and
categories that name none are given none), a batch at a time and without files between them. Keypoint R-CNNs
detect boxes and predict the heatmaps of the plain view in one pass; for a pose estimator another model finds
the boxes.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from distill.datasets.keypoint_meta import keypoint_meta
from distill.models.sources import Image, Part, Pixels, Views, cut
from distill.models.usage import Plan
from distill.predictions import boxes as box_math
from distill.predictions.crop_heatmaps import CropAverage, first_frame
from distill.predictions.fixed_boxes import fixed
from distill.predictions.heatmap_file import Block
from distill.predictions.heatmaps import Average
from distill.predictions.merge import Boxes, box_records
from distill.predictions.merge_heatmaps import check_options, keypoint_records
from distill.predictions.views import View
from distill.program import UserError


@dataclass
class _Batch:
    """What is known so far about a few images, by their ids.

    images, lost: records; why they cannot be read.
    boxes: under each view.
    instances: fixed boxes: (n, 4) x, y, w, h, scores, categories; regions: (n, 4) x1, y1, x2, y2.
    maps, crops: heatmaps merged so far, of a pose estimator in crops.
    """

    images: dict[int, Image] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    boxes: dict[int, list[Boxes]] = field(default_factory=dict)
    instances: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)
    regions: dict[int, np.ndarray] = field(default_factory=dict)
    maps: dict[int, Average] = field(default_factory=dict)
    crops: dict[int, CropAverage] = field(default_factory=dict)


CROPS = 8  # of instances, take the memory of an image
Result = tuple[list[tuple[Image, list[dict]]], list[dict[str, str]]]  # images with records; unreadable ones


class Application:
    """A model, and how it is used.

    predictor: a `Predictor`.
    min_score: the least score of a result.
    finder: the `Predictor` that finds instances for a pose estimator.

    views: of the passes; `fixes`: whether the first of them is to find the boxes of all.
    """

    def __init__(self, predictor: Any, plan: Plan, min_score: float, finder: Any = None) -> None:
        self.predictor, self.plan, self.min_score, self.finder = predictor, plan, min_score, finder
        self.whole = finder or predictor  # the model that sees whole images
        crops = "crops" in predictor.kind.can
        if crops and not finder:
            raise UserError(f"{predictor.folder}: finds no instances itself; --boxes names a model that does")
        if finder and not crops:
            raise UserError(f"{predictor.folder}: finds boxes itself, and needs no {finder.folder}")
        self.posed = predictor.meta.get("task") == "keypoints"
        self.with_keypoints = {c["id"] for c in predictor.meta["categories"] if c.get("keypoints")}
        meta = keypoint_meta({"categories": predictor.meta["categories"]}) if self.posed else None
        self.flip_pairs = meta.flip_pairs if meta else ()
        self.limits = dict(plan.fixed_boxes)
        if (
            self.posed
        ):  # an instance scores as its box; where boxes are refined, only the mean of all views does
            self.limits["min_score"] = max(min_score, plan.fixed_boxes["min_score"])
        self.fixes, self.views, self.step = self.posed, list(plan.views), self._propose
        if crops:
            self._prepare_crops()
        elif self.posed:
            others = (view for view in plan.views if view != plan.plain)
            self.views, self.step = [plan.plain, *others], self._pose
        elif plan.options.boxes == "average":
            if "refine" not in predictor.kind.can:
                raise UserError(f"{predictor.folder}: merge.boxes: its network does not score given boxes")
            self.fixes, self.views, self.step = True, [plan.plain, *plan.views], self._refine

    def _prepare_crops(self) -> None:
        """For a pose estimator: boxes in one pass, the crops of all views in another."""
        predictor, plan = self.predictor, self.plan
        self.layout = predictor.kind.layout(predictor.network)
        check_options(plan.views, self.layout.kind, plan.options)
        unknown = set(self.finder.category_ids.tolist()) - set(predictor.category_ids.tolist())
        if unknown:
            raise UserError(f"{self.finder.folder}: category {min(unknown)} is unknown to {predictor.folder}")
        first = plan.views[first_frame(plan.views)]
        self.crop_views = [first, *(view for view in plan.views if view != first)]
        self.views, self.step = [plan.plain], self._find

    @property
    def passes(self) -> Views:
        """How often a model sees each image, and how; None: as it is, to be cropped."""
        return [*self.views, None] if self.finder else self.views

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
                    self.whole.check_finite(self.views[0])
                if not part.ends:
                    continue
                ended: tuple[Part, Future] = part, thread.submit(self._result, batch, part)
                batch = _Batch()
                if waiting:
                    yield waiting[0], waiting[1].result()
                waiting = ended
                if part.ends == "shard":
                    for model in filter(None, (self.finder, self.predictor)):
                        model.check_finite(self.views[-1])
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
        if not good:
            return
        records, seen = zip(*good, strict=True)
        if part.number < len(self.views):
            step = partial(self.step, batch, part.number)
            self.whole.forward(records, seen, self.views[part.number], step)
        else:
            self._estimate(batch, records, seen)

    def _propose(self, batch: _Batch, number: int, records: Sequence[Image], inputs: Any, samples: Any):
        """The model's own boxes under a view."""
        predicted = self.predictor.kind.boxes(self.predictor.network, inputs, samples)
        for image, found in zip(records, self.predictor.found(predicted), strict=True):
            mine = self._inverted(image, self.views[number], found["boxes"], found["scores"])
            columns = (*mine, found["category_ids"], np.full(len(mine[1]), -1))
            batch.boxes.setdefault(image["id"], []).append(columns)

    def _find(self, batch: _Batch, number: int, records: Sequence[Image], inputs: Any, samples: Any):
        """Fixed boxes."""
        predicted = self.whole.kind.boxes(self.whole.network, inputs, samples)
        for image, found in zip(records, self.whole.found(predicted), strict=True):
            self._fix(batch, image, found)

    def _refine(self, batch: _Batch, number: int, records: Sequence[Image], inputs: Any, samples: Any):
        """Fixed boxes in the first pass; what a view makes of them in the others."""
        network, kind, view = self.predictor.network, self.predictor.kind, self.views[number]
        if not number:
            self._find(batch, number, records, inputs, samples)
            return
        rois = self.predictor.rois(records, batch.regions, view, inputs)
        refined = self.predictor.refinements(kind.refined(network, inputs, samples, rois))
        for image, (boxes, scores) in zip(records, refined, strict=True):
            _, _, categories = batch.instances[image["id"]]
            rows = np.arange(len(categories))
            chosen = rows, self.predictor.places(categories)
            mine = self._inverted(image, view, boxes[chosen], scores[chosen])
            batch.boxes.setdefault(image["id"], []).append((*mine, categories, rows))

    def _pose(self, batch: _Batch, number: int, records: Sequence[Image], inputs: Any, samples: Any):
        """Fixed boxes in the first pass; heatmaps in them in all."""
        network, kind, view = self.predictor.network, self.predictor.kind, self.views[number]
        counts = view in self.plan.views

        def choose(predicted: list[InstanceData]) -> list[torch.Tensor]:
            for image, found in zip(records, self.predictor.found(predicted), strict=True):
                self._fix(batch, image, found)
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

    def _estimate(self, batch: _Batch, records: Sequence[Image], seen: Sequence[torch.Tensor]) -> None:
        """What a pose estimator says of the crops of fixed boxes, under all views."""
        crop = self.predictor.kind.crop(self.predictor.network)
        boxes = [batch.regions[image["id"]] for image in records]
        pixels = [one.permute(1, 2, 0).numpy() for one in seen]
        starts = np.cumsum([len(mine) for mine in boxes])[:-1]
        for view in self.crop_views:
            crops = [cut(one, mine, crop, view) for one, mine in zip(pixels, boxes, strict=True)]
            maps = [np.split(one, starts) for one in self._maps(torch.cat(crops))]
            for image, mine, *of_image in zip(records, boxes, *maps, strict=True):
                key, region = image["id"], crop.regions(mine, view.padding)
                average = batch.crops.setdefault(key, CropAverage(self.layout, self.flip_pairs, region))
                counting = self.plan.options.counting(view, batch.instances[key][0])
                average.add(tuple(of_image), view, region, counting)

    def _maps(self, crops: torch.Tensor) -> tuple[np.ndarray, ...]:
        """Of crops (n, 3, h, w): `maps` as in `heatmap_file.Block`."""
        few = [self.predictor.maps(part) for part in crops.split(CROPS * self.predictor.batch)]
        maps = [torch.cat(parts).float().cpu().numpy() for parts in zip(*few, strict=True)]
        return tuple(maps) if len(maps) == 1 else (maps[0][..., None, :], maps[1][..., None])

    def _fix(self, batch: _Batch, image: Image, found: dict[str, np.ndarray]) -> None:
        boxes, rows = fixed(found, self.plan.plain, (image["width"], image["height"]), self.limits)
        xywh = box_math.in_file(boxes)
        columns = xywh, np.round(found["scores"][rows], 6), found["category_ids"][rows]
        batch.instances[image["id"]] = columns
        batch.regions[image["id"]] = box_math.xywh_to_xyxy(xywh)

    @staticmethod
    def _inverted(
        image: Image, view: View, boxes: np.ndarray, scores: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As files of predictions round them, in the image."""
        size = (image["width"], image["height"])
        boxes = box_math.xywh_to_xyxy(box_math.in_file(boxes))
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
        elif average := batch.maps.get(key) or batch.crops.get(key):
            xywh, scores, categories = batch.instances[key]
            ids = np.full(len(xywh), key)
            rows = Block((), ids, xywh, scores, categories, xywh)
            for record in keypoint_records(rows, average, self.plan.options):
                if record["category_id"] not in self.with_keypoints:  # a box, whatever the heatmaps are
                    for name in ("keypoints", "keypoint_logits", "agreement"):
                        record.pop(name, None)
                yield record
