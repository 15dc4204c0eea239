"""A trained model on a device, under views."""

from collections.abc import Callable, Container, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import DataLoader, Dataset

from distill.models.amp import features_in_bfloat16, keep_float32, supported
from distill.models.application import Application, Proposals, Refinements
from distill.models.devices import CROPS, Portions, pick_device, pick_workers
from distill.models.folding import fold
from distill.models.loaders import outlive_signals
from distill.models.model import load
from distill.models.named_rows import categories_of
from distill.models.pose_application import Poses, PosesInCrops
from distill.models.sources import CroppedImages, Image, Part, Pixels, Source, ViewedImages, Views, batches
from distill.models.usage import Plan, plan_of
from distill.predictions.views import View, check_crops, check_images
from distill.program import DEVICE, UserError, log, progress


def _meta(height: int, width: int) -> dict[str, Any]:
    """What mmdet's networks ask of an image that is as it is. border: top, bottom, left and right of what
    CornerNet and CenterNet take for a crop."""
    shape, border = (height, width), (0, height, 0, width)
    return {"img_shape": shape, "ori_shape": shape, "scale_factor": (1, 1), "border": border}


def _read(batch: Sequence[InstanceData], *names: str) -> Iterator[list[np.ndarray]]:
    """What is known of the instances of each image of a batch, (n, …) of each name, as float64: one copy, for
    which a GPU is waited for once."""
    given = [torch.cat([one[name] for one in batch]).float() for name in names]
    columns = [one[:, None] if one.ndim == 1 else one for one in given]
    table = torch.cat(columns, 1).cpu().double().numpy()
    ends = np.cumsum([column.shape[1] for column in columns])[:-1]
    for rows in np.split(table, np.cumsum([len(one) for one in batch])[:-1]):
        yield np.split(rows, ends, axis=1)


class Predictor:
    """A trained model on a device.

    folder: of the model.
    device: cpu, cuda or auto.
    batch: images at most that go through the network together; None: 4, on a GPU 16.
    workers: processes that load images; None: as many as the job's CPUs allow.
    amp: convolutions and matrix products are computed in bfloat16, all but the last ones.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = DEVICE,
        batch: int | None = None,
        workers: int | None = None,
        amp: bool = False,
    ) -> None:
        self.device = pick_device(device)
        self.portions = Portions()
        self.amp = amp and supported(self.device)
        self.folder = Path(folder)
        self.network, self.meta, self.kind = load(folder, self.device)
        self.divisor = self.network.data_preprocessor.pad_size_divisor
        half = [side // 2 for side in self.kind.sample_size(self.network)]
        sample = torch.randn(1, 3, *half, generator=torch.Generator().manual_seed(0))
        sample = sample.repeat_interleave(2, -1).repeat_interleave(2, -2).to(self.device)
        self.folded = fold(self.network, lambda: self.kind.raw(self.network, sample))
        # The sum of all that the network gives stays on the device; it is finite if every number is.
        self._given = torch.zeros((), device=self.device)
        for layer in self.kind.last_layers(self.network):
            layer.register_forward_hook(self._add_up)
            if self.amp and self.kind.half == "network":  # of the 8 bits of bfloat16 many proposals would get
                keep_float32(layer)  # equal scores, and NMS would keep any of them
        if self.amp and self.kind.half == "features":
            features_in_bfloat16(self.network)
        self.autocast = self.amp and self.kind.half == "network"
        self.batch = batch or (16 if self.device.type == "cuda" else 4)
        self.workers = pick_workers(self.device) if workers is None else workers
        self.category_ids = np.array([category["id"] for category in self.meta["categories"]])
        self.rows, self.columns = categories_of(self.meta, self.folder)

    def predict(
        self,
        images: str | Path | Sequence[str | Path],
        views: Sequence[str] | str | None = None,
        min_score: float = 0.0,
        boxes: str | Path | None = None,
    ) -> Iterator[tuple[Image, list[dict]]]:
        """What the model finds on images of anybody's: (record of the image, COCO results), image by image.

        images: a folder, a video, or image files. Those that cannot be read are left out, with a warning.
        views: a view set of the model's study, or names of views (s0800, s0800-flip); None: the plain view.
        min_score: the least score of a result.
        boxes: the folder of the model that finds a pose estimator's instances; None: the study's.

        Images of similar shape come together. Raises UserError where there is nothing to predict.
        """
        source = Source.of([images] if isinstance(images, str | Path) else images)
        used = self.application(plan_of(self.folder, views, boxes), min_score)
        for _, (found, lost) in used.results(used.whole.parts(source, used.passes)):
            for one in lost:
                log.warning("%(file_name)s is left out: %(reason)s", one)
            yield from found

    def application(self, plan: Plan, min_score: float) -> Application:
        """This model as the plan has it used; that which finds instances for it is computed likewise."""
        if "crops" in self.kind.can:
            if not plan.boxes:
                raise UserError(f"{self.folder}: finds no instances itself; --boxes names a model that does")
            finder = Predictor(plan.boxes, str(self.device), self.batch, self.workers, self.amp)
            return PosesInCrops(self, plan, min_score, finder)
        if plan.boxes:
            raise UserError(f"{self.folder}: finds boxes itself, and needs no {plan.boxes}")
        of_boxes = Refinements if plan.options.boxes == "average" else Proposals
        return (Poses if self.meta.get("task") == "keypoints" else of_boxes)(self, plan, min_score)

    def parts(
        self, source: Source, views: Views, done: Container[int] = ()
    ) -> Iterator[tuple[Part, list[Pixels]]]:
        """A source in batches, as `Source.parts`."""
        pinned = self.device.type == "cuda"
        return source.parts(views, self.batch, self.divisor, self.workers, pinned, done)

    def _add_up(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._given = self._given + output.sum(dtype=torch.float32)

    def check_finite(self, view: View) -> None:
        """Raises UserError where the network gave NaN or infinity, of which NMS would keep nothing."""
        if not torch.isfinite(self._given):
            what = f"its outputs under {view.name} hold NaN or infinity"
            raise UserError(f"{self.folder}: {what}; train it with a lower `lr`, or import other weights")

    @torch.inference_mode()
    def run(self, root: Path, images: list[Image], view: View, each: Callable) -> Iterator[Any]:
        """Calls `each` on every batch of preprocessed images, in order, and yields what it returns.

        root: the folder of the images.
        images: records of the dataset JSON.
        each: function of the image records, the network's input, and mmdet's samples of a batch.
        """
        check_images([view], str(self.folder))
        dataset = ViewedImages(root, images, view)
        runs = batches(images, view, self.batch, self.divisor)
        loader = self._loader(dataset, batch_sampler=runs, collate_fn=list)
        for number, items in enumerate(progress(loader, len(loader), f"batches of {view.name}")):
            records, pixels = zip(*items, strict=True)
            results = self.forward(records, pixels, view, each)
            if number == 0:  # later ones only at the end, since asking makes the CPU wait for a GPU
                self.check_finite(view)
            yield from results
        self.check_finite(view)

    def _loader(self, dataset: Dataset, **options: Any) -> DataLoader:
        return DataLoader(
            dataset,
            num_workers=self.workers,
            worker_init_fn=outlive_signals,
            pin_memory=self.device.type == "cuda",
            **options,
        )

    @torch.inference_mode()
    def forward(
        self, records: Sequence[Image], pixels: Sequence[torch.Tensor], view: View, each: Callable
    ) -> list[Any]:
        """What `each`, as of `run`, returns for one batch, or for parts of it where the GPU has no memory for
        all at once. pixels: of `ViewedImages`, (3, H, W) of each."""

        def part(rows: slice) -> Any:
            inputs = [p.to(self.device, non_blocking=True) for p in pixels[rows]]
            if view.flip:
                inputs = [p.flip(-1) for p in inputs]
            samples = [DetDataSample(metainfo=_meta(*p.shape[1:])) for p in inputs]
            data = self.network.data_preprocessor({"inputs": inputs, "data_samples": samples})
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                return each(records[rows], data["inputs"], data["data_samples"])

        padded = tuple(map(max, zip(*(p.shape[1:] for p in pixels), strict=True)))
        return self.portions(part, len(records), padded)

    def boxes(self, root: Path, images: list[Image], view: View) -> Iterator[tuple[Image, dict]]:
        """Yields (image, {"boxes" (N, 4) x1, y1, x2, y2 in the view, "scores" (N,), "category_ids" (N,)})."""

        def each(records, inputs, samples):
            return zip(records, self.found(self.kind.boxes(self.network, inputs, samples)), strict=True)

        return chain.from_iterable(self.run(root, images, view, each))

    def found(self, batch: Sequence[InstanceData]) -> Iterator[dict[str, np.ndarray]]:
        """The boxes of each image of a batch, as `boxes` yields them."""
        for labels, bboxes, scores in _read(batch, "labels", "bboxes", "scores"):
            columns = self.columns[labels[:, 0].astype(int)]
            known = columns >= 0  # an imported model may know categories that the dataset lacks
            yield {
                "boxes": bboxes[known],
                "scores": scores[known, 0],
                "category_ids": self.category_ids[columns[known]],
            }

    def refined(
        self, root: Path, images: list[Image], regions: dict[int, np.ndarray], view: View
    ) -> Iterator[tuple[Image, np.ndarray, np.ndarray]]:
        """The output of the box head for given RoIs, without NMS.

        regions: image id → (n, 4) x1, y1, x2, y2 in the original image.

        Yields (image, boxes (n, C, 4) in the view, scores (n, C)): for each RoI a box and a score of each of
        C categories.
        """

        def each(records, inputs, samples):
            rois = self.rois(records, regions, view, inputs)
            refined = self.refinements(self.kind.refined(self.network, inputs, samples, rois))
            return ((image, *of_image) for image, of_image in zip(records, refined, strict=True))

        return chain.from_iterable(self.run(root, images, view, each))

    def places(self, category_ids: np.ndarray) -> np.ndarray:
        """Where categories, all of them known, are among those that `refined` scores."""
        order = np.argsort(self.category_ids)
        return order[np.searchsorted(self.category_ids, category_ids, sorter=order)]

    def refinements(self, batch: Sequence[InstanceData]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Boxes and scores of each image of a batch, as `refined` yields them."""
        for boxes, scores in _read(batch, "bboxes", "scores"):
            boxes = boxes.reshape(len(scores), -1, 4)
            boxes = boxes[:, self.rows] if boxes.shape[1] > 1 else boxes
            yield np.broadcast_to(boxes, (len(scores), len(self.rows), 4)), scores[:, self.rows]

    def heatmaps(
        self, root: Path, images: list[Image], regions: dict[int, np.ndarray], view: View
    ) -> Iterator[torch.Tensor]:
        """The keypoint head's output for given RoIs.

        regions: image id → (n, 4) x1, y1, x2, y2 in the original image.

        Yields heatmaps (n, K, 56, 56), logits in the frame of the view.
        """

        def each(records, inputs, samples):
            return self.kind.heatmaps(self.network, inputs, self.rois(records, regions, view, inputs))

        return self.run(root, images, view, each)

    @torch.inference_mode()
    def crops(
        self, root: Path, images: list[Image], regions: dict[int, np.ndarray], view: View
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """What a top-down pose estimator says of the crops of given boxes.

        regions: image id → (n, 4) x1, y1, x2, y2 in the original image.

        Yields heatmaps (n, K, h, w), or distributions of x and y, of some boxes after others, in the frame of
        the view.
        """
        check_crops([view], str(self.folder))
        dataset = CroppedImages(root, images, regions, self.kind.crop(self.network), view)
        loader = self._loader(dataset, batch_size=None)
        waiting, most = torch.zeros(0), CROPS * self.batch
        for number, pixels in enumerate(progress(loader, len(loader), f"images of {view.name}"), 1):
            waiting = torch.cat([waiting, pixels]) if len(waiting) else pixels
            while len(waiting) >= most or (number == len(loader) and len(waiting)):
                yield self.maps(waiting[:most])
                waiting = waiting[most:]
        self.check_finite(view)

    @torch.inference_mode()
    def maps(self, crops: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What a top-down pose estimator says of crops (n, 3, h, w), as `crops` yields it."""

        def part(rows: slice) -> tuple[torch.Tensor, ...]:
            inputs = [one.to(self.device, non_blocking=True) for one in crops[rows]]
            data = self.network.data_preprocessor({"inputs": inputs, "data_samples": []})
            return self.kind.maps(self.network, data["inputs"])

        parts = self.portions(part, len(crops), "crops")
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    @staticmethod
    def rois(
        records: Sequence[Image], regions: dict[int, np.ndarray], view: View, inputs: torch.Tensor
    ) -> list[torch.Tensor]:
        """The regions of each image in its view, (n, 4) on the device of the inputs."""
        mine = [view.forward_boxes(regions[i["id"]], (i["width"], i["height"])) for i in records]
        rows = torch.from_numpy(np.concatenate(mine)).to(inputs.dtype)
        rows = rows.pin_memory() if inputs.is_cuda else rows
        return list(rows.to(inputs.device, non_blocking=True).split([len(boxes) for boxes in mine]))
