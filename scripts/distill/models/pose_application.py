"""Models of keypoints in use: `application`.

Keypoint R-CNNs detect boxes and predict the heatmaps of the plain view in one pass; for a pose estimator
another model finds the boxes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.structures import InstanceData

from distill.datasets.keypoint_meta import keypoint_meta
from distill.models.application import Batch, InFixedBoxes, Records
from distill.models.devices import CROPS
from distill.models.sources import Views, cut
from distill.models.usage import Plan
from distill.predictions.crop_heatmaps import CropAverage, first_frame
from distill.predictions.heatmap_file import Block
from distill.predictions.heatmaps import Average
from distill.predictions.merge_heatmaps import check_options, keypoint_records
from distill.program import UserError


class _OfKeypoints(InFixedBoxes):
    """Instances, each of which scores as its box, with the keypoints that averaged heatmaps show."""

    def __init__(self, predictor: Any, plan: Plan, min_score: float) -> None:
        super().__init__(predictor, plan, min_score)
        self.limits = {**self.limits, "min_score": max(min_score, self.limits["min_score"])}
        categories = predictor.meta["categories"]
        self.with_keypoints = {c["id"] for c in categories if c.get("keypoints")}
        meta = keypoint_meta({"categories": categories})
        self.flip_pairs = meta.flip_pairs if meta else ()

    def records(self, batch: Batch, key: int) -> Iterator[dict]:
        if average := batch.maps.get(key):
            xywh, scores, categories = batch.instances[key]
            rows = Block((), np.full(len(xywh), key), xywh, scores, categories, xywh)
            for record in keypoint_records(rows, average, self.plan.options):
                if record["category_id"] not in self.with_keypoints:  # a box, whatever the heatmaps are
                    for name in ("keypoints", "keypoint_logits", "agreement"):
                        record.pop(name, None)
                yield record


class Poses(_OfKeypoints):
    """Heatmaps of a Keypoint R-CNN in the boxes of its plain view."""

    def __init__(self, predictor: Any, plan: Plan, min_score: float) -> None:
        super().__init__(predictor, plan, min_score)
        self.views = [plan.plain, *(view for view in plan.views if view != plan.plain)]

    def see(self, batch: Batch, number: int, records: Records, inputs: Any, samples: Any) -> None:
        network, kind, view = self.predictor.network, self.predictor.kind, self.views[number]

        def choose(predicted: list[InstanceData]) -> list[torch.Tensor]:
            self.fix(batch, records, predicted)
            return self.predictor.rois(records, batch.regions, view, inputs)

        if number:
            rois = self.predictor.rois(records, batch.regions, view, inputs)
            heatmaps = kind.heatmaps(network, inputs, rois)
        elif view in self.plan.views:
            heatmaps = kind.both(network, inputs, samples, choose)
        else:
            super().see(batch, number, records, inputs, samples)
            return
        maps = heatmaps.float().cpu().numpy()
        regions = {image["id"]: batch.regions[image["id"]] for image in records}
        starts = np.cumsum([len(boxes) for boxes in regions.values()])[:-1]
        for key, mine in zip(regions, np.split(maps, starts), strict=True):
            if len(mine):
                average = batch.maps.setdefault(key, Average(self.plan.options.average, self.flip_pairs))
                average.add(mine, view, self.plan.options.counting(view, batch.instances[key][0]))


class PosesInCrops(_OfKeypoints):
    """Those of a pose estimator: another model finds boxes in one pass; in a second one all views are crops
    of the image."""

    def __init__(self, predictor: Any, plan: Plan, min_score: float, finder: Any) -> None:
        super().__init__(predictor, plan, min_score)
        self.finder, self.layout = finder, predictor.kind.layout(predictor.network)
        check_options(plan.views, self.layout.kind, plan.options)
        unknown = set(finder.category_ids.tolist()) - set(predictor.category_ids.tolist())
        if unknown:
            raise UserError(f"{finder.folder}: category {min(unknown)} is unknown to {predictor.folder}")
        first = plan.views[first_frame(plan.views)]
        self.crop_views = [first, *(view for view in plan.views if view != first)]
        self.views = [plan.plain]

    @property
    def passes(self) -> Views:
        return [*self.views, None]

    def show(self, batch: Batch, number: int, records: Records, pixels: Sequence[torch.Tensor]) -> None:
        if number < len(self.views):
            super().show(batch, number, records, pixels)
            return
        crop = self.predictor.kind.crop(self.predictor.network)
        boxes = [batch.regions[image["id"]] for image in records]
        seen = [one.permute(1, 2, 0).numpy() for one in pixels]
        starts = np.cumsum([len(mine) for mine in boxes])[:-1]
        for view in self.crop_views:
            crops = [cut(one, mine, crop, view) for one, mine in zip(seen, boxes, strict=True)]
            maps = [np.split(one, starts) for one in self._maps(torch.cat(crops))]
            for image, mine, *of_image in zip(records, boxes, *maps, strict=True):
                key, region = image["id"], crop.regions(mine, view.padding)
                average = batch.maps.setdefault(key, CropAverage(self.layout, self.flip_pairs, region))
                counting = self.plan.options.counting(view, batch.instances[key][0])
                average.add(tuple(of_image), view, region, counting)

    def _maps(self, crops: torch.Tensor) -> tuple[np.ndarray, ...]:
        """Of crops (n, 3, h, w): `maps` as in `heatmap_file.Block`."""
        few = [self.predictor.maps(part) for part in crops.split(CROPS * self.predictor.batch)]
        maps = [torch.cat(parts).float().cpu().numpy() for parts in zip(*few, strict=True)]
        return tuple(maps) if len(maps) == 1 else (maps[0][..., None, :], maps[1][..., None])
