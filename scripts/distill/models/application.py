"""A model in use: what it says about images or a video of anybody's, under one view or merged over several.

The same steps as in a study, with the same numbers (keypoints but for the rounding of heatmaps in files; and
categories that name none are given none), a batch at a time and without files between them. How often a model
sees an image, and what is kept of that, depends on the model and the merge options: a class for each.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from distill.models.sources import Image, Part, Pixels, Views
from distill.models.usage import Plan
from distill.predictions import boxes as box_math
from distill.predictions.fixed_boxes import fixed
from distill.predictions.merge import Boxes, box_records
from distill.predictions.views import View
from distill.program import UserError

Records = Sequence[Image]
Result = tuple[list[tuple[Image, list[dict]]], list[dict[str, str]]]  # images with records; unreadable ones


@dataclass
class Batch:
    """What is known so far about a few images, by their ids.

    images, lost: records; why they cannot be read.
    boxes: under each view.
    instances: fixed boxes: (n, 4) x, y, w, h, scores, categories; regions: (n, 4) x1, y1, x2, y2.
    maps: heatmaps merged so far: an Average, or a CropAverage.
    """

    images: dict[int, Image] = field(default_factory=dict)
    lost: dict[int, str] = field(default_factory=dict)
    boxes: dict[int, list[Boxes]] = field(default_factory=dict)
    instances: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=dict)
    regions: dict[int, np.ndarray] = field(default_factory=dict)
    maps: dict[int, Any] = field(default_factory=dict)


class Application:
    """A model, and how it is used.

    predictor: a `Predictor`.
    min_score: the least score of a result.

    finder: the `Predictor` that finds instances for another one. views: of the passes over whole images.
    """

    finder: Any = None

    def __init__(self, predictor: Any, plan: Plan, min_score: float) -> None:
        self.predictor, self.plan, self.min_score = predictor, plan, min_score
        self.views = list(plan.views)

    @property
    def whole(self) -> Any:
        """The model that sees whole images."""
        return self.finder or self.predictor

    @property
    def passes(self) -> Views:
        """How often a model sees each image, and how; None: as it is, to be cropped."""
        return self.views

    def see(self, batch: Batch, number: int, records: Records, inputs: Any, samples: Any) -> None:
        """A pass over images: keeps what the network makes of them. inputs, samples: as mmdet has them."""
        raise NotImplementedError

    def records(self, batch: Batch, key: int) -> Iterator[dict]:
        """The COCO results of an image after all passes."""
        raise NotImplementedError

    def wants(self, batch: Batch, part: Part, image: Image) -> bool:
        """Whether an image is to be seen in a pass."""
        return True

    def show(self, batch: Batch, number: int, records: Records, pixels: Sequence[torch.Tensor]) -> None:
        """Gives the pixels of a pass to the network."""
        self.whole.forward(records, pixels, self.views[number], partial(self.see, batch, number))

    def results(self, parts: Iterator[tuple[Part, list[Pixels]]]) -> Iterator[tuple[Part, Result]]:
        """What is found on the images of a source under all of `passes`: (part, images with their records,
        images that cannot be read), whenever a part ends a batch or a shard.

        What the CPU makes of a batch it makes while the device has the next one.
        """
        batch, waiting = Batch(), None
        with ThreadPoolExecutor(1) as thread:
            for number, (part, pixels) in enumerate(parts):
                self._add(batch, part, pixels)
                if number == 0:
                    self.whole.check_finite(self.views[0])
                if not part.ends:
                    continue
                ended: tuple[Part, Future] = part, thread.submit(self._result, batch, part)
                batch = Batch()
                if waiting:
                    yield waiting[0], waiting[1].result()
                waiting = ended
                if part.ends == "shard":
                    for model in filter(None, (self.finder, self.predictor)):
                        model.check_finite(self.views[-1])
            if waiting:
                yield waiting[0], waiting[1].result()

    def _add(self, batch: Batch, part: Part, pixels: list[Pixels]) -> None:
        good = []
        for image, one in zip(part.images, pixels, strict=True):
            batch.images[image["id"]] = image
            if isinstance(one, str):
                batch.lost[image["id"]] = one
            elif self.wants(batch, part, image):
                good.append((image, one))
        if good:
            records, seen = zip(*good, strict=True)
            self.show(batch, part.number, records, seen)

    def _result(self, batch: Batch, part: Part) -> Result:
        found = [
            (image, [record for record in self.records(batch, key) if record["score"] >= self.min_score])
            for key, image in batch.images.items()
            if key not in batch.lost
        ]
        lost = [
            {"file_name": batch.images[key]["file_name"], "reason": why} for key, why in batch.lost.items()
        ]
        return found, [*lost, *part.unreadable]


class Proposals(Application):
    """The boxes that a model proposes itself under every view."""

    def see(self, batch: Batch, number: int, records: Records, inputs: Any, samples: Any) -> None:
        predicted = self.predictor.kind.boxes(self.predictor.network, inputs, samples)
        for image, found in zip(records, self.predictor.found(predicted), strict=True):
            mine = _inverted(image, self.views[number], found["boxes"], found["scores"])
            columns = (*mine, found["category_ids"], np.full(len(mine[1]), -1))
            batch.boxes.setdefault(image["id"], []).append(columns)

    def records(self, batch: Batch, key: int) -> Iterator[dict]:
        if views := batch.boxes.get(key):
            yield from box_records(key, views, self.plan.options, [view.name for view in self.plan.views])


class InFixedBoxes(Application):
    """The first pass finds boxes, and all others look at them alone.

    limits: of `fixed_boxes.fixed`.
    """

    def __init__(self, predictor: Any, plan: Plan, min_score: float) -> None:
        super().__init__(predictor, plan, min_score)
        self.limits = plan.fixed_boxes

    def wants(self, batch: Batch, part: Part, image: Image) -> bool:
        return not part.number or len(batch.regions.get(image["id"], ())) > 0

    def see(self, batch: Batch, number: int, records: Records, inputs: Any, samples: Any) -> None:
        self.fix(batch, records, self.whole.kind.boxes(self.whole.network, inputs, samples))

    def fix(self, batch: Batch, records: Records, predicted: Any) -> None:
        """Keeps the boxes that were predicted under the plain view as the fixed ones of the images."""
        for image, found in zip(records, self.whole.found(predicted), strict=True):
            boxes, rows = fixed(found, self.plan.plain, (image["width"], image["height"]), self.limits)
            xywh = box_math.in_file(boxes)
            columns = xywh, np.round(found["scores"][rows], 6), found["category_ids"][rows]
            batch.instances[image["id"]] = columns
            batch.regions[image["id"]] = box_math.xywh_to_xyxy(xywh)


class Refinements(InFixedBoxes, Proposals):
    """What every view makes of the boxes of the plain one (`merge.boxes: average`)."""

    def __init__(self, predictor: Any, plan: Plan, min_score: float) -> None:
        if "refine" not in predictor.kind.can:
            raise UserError(f"{predictor.folder}: merge.boxes: its network does not score given boxes")
        super().__init__(predictor, plan, min_score)
        self.views = [plan.plain, *plan.views]

    def see(self, batch: Batch, number: int, records: Records, inputs: Any, samples: Any) -> None:
        if not number:
            super().see(batch, number, records, inputs, samples)
            return
        view = self.views[number]
        rois = self.predictor.rois(records, batch.regions, view, inputs)
        refined = self.predictor.kind.refined(self.predictor.network, inputs, samples, rois)
        for image, (boxes, scores) in zip(records, self.predictor.refinements(refined), strict=True):
            _, _, categories = batch.instances[image["id"]]
            rows = np.arange(len(categories))
            chosen = rows, self.predictor.places(categories)
            mine = _inverted(image, view, boxes[chosen], scores[chosen])
            batch.boxes.setdefault(image["id"], []).append((*mine, categories, rows))


def _inverted(
    image: Image, view: View, boxes: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """As files of predictions round them, in the image."""
    size = (image["width"], image["height"])
    boxes = box_math.xywh_to_xyxy(box_math.in_file(boxes))
    return box_math.clip(view.inverse_boxes(boxes, size), size), np.round(scores, 6)
