"""A trained model on a device, under views.

Images of similar shape follow each other, so that those of a batch are padded to one size. An image's padding
does not depend on its batch, nor therefore on the number of shards.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.structures import DetDataSample
from torch import nn
from torch.utils.data import DataLoader, Dataset

from distill.datasets.images import read_image
from distill.models.amp import features_in_bfloat16, keep_float32, supported
from distill.models.folding import fold
from distill.models.model import load, pick_device, pick_workers
from distill.predictions.views import View
from distill.program import UserError, progress

DIVISOR = 32  # networks pad to their coarsest stride
Image = dict[str, Any]


class ViewedImages(Dataset):
    """Images (3, H, W) uint8 of a dataset, resized and turned as in a view, but not mirrored, which the
    device does faster. `images` are records of the dataset JSON."""

    def __init__(self, root: Path, images: list[Image], view: View) -> None:
        self.root, self.images, self.view = root, images, replace(view, flip=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image, torch.Tensor]:
        image = self.images[index]
        size = (image["width"], image["height"])
        pixels = read_image(self.root / image["file_name"], size, image.get("hash"))
        return image, torch.from_numpy(self.view.transform_image(pixels)).permute(2, 0, 1)


def in_order_of_shape(images: Sequence[Image]) -> list[Image]:
    """By aspect ratio, then size, then id: then similar shapes are next to each other under every view."""
    return sorted(images, key=lambda i: (i["width"] / i["height"], i["width"], i["id"]))


def batches(images: list[Image], view: View, most: int, divisor: int = DIVISOR) -> list[list[int]]:
    """Runs of at most `most` consecutive images whose views are padded to the same size, by `divisor`."""
    runs: list[list[int]] = []
    last = None
    for index, image in enumerate(images):
        width, height = view.size(image["width"], image["height"])
        shape = (-(-width // divisor), -(-height // divisor))
        if shape != last or len(runs[-1]) == most:
            runs.append([])
        runs[-1].append(index)
        last = shape
    return runs


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
        folder: Path,
        device: str,
        batch: int | None = None,
        workers: int | None = None,
        amp: bool = False,
    ) -> None:
        self.device = pick_device(device)
        self.amp = amp and supported(self.device)
        self.folder = folder
        self.network, self.meta, self.kind = load(folder, self.device)
        divisor = self.network.data_preprocessor.pad_size_divisor
        sample = torch.randn(1, 3, divisor, divisor, generator=torch.Generator().manual_seed(0))
        sample = sample.repeat_interleave(2, -1).repeat_interleave(2, -2).to(self.device)
        fold(self.network, lambda: self.kind.raw(self.network, sample))
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

    def _add_up(self, layer: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        self._given = self._given + output.sum(dtype=torch.float32)

    def _check_finite(self, view: View) -> None:
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
        dataset = ViewedImages(root, images, view)
        loader = DataLoader(
            dataset,
            batch_sampler=batches(images, view, self.batch, self.network.data_preprocessor.pad_size_divisor),
            collate_fn=list,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )
        for number, items in enumerate(progress(loader, len(loader), f"batches of {view.name}")):
            records, pixels = zip(*items, strict=True)
            inputs = [p.to(self.device, non_blocking=True) for p in pixels]
            if view.flip:
                inputs = [p.flip(-1) for p in inputs]
            samples = [
                DetDataSample(
                    metainfo={"img_shape": p.shape[1:], "ori_shape": p.shape[1:], "scale_factor": (1, 1)}
                )
                for p in inputs
            ]
            data = self.network.data_preprocessor({"inputs": inputs, "data_samples": samples})
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                result = each(records, data["inputs"], data["data_samples"])
            if number == 0:  # later ones only at the end, since asking makes the CPU wait for a GPU
                self._check_finite(view)
            yield result
        self._check_finite(view)

    def boxes(self, root: Path, images: list[Image], view: View) -> Iterator[tuple[Image, dict]]:
        """Yields (image, {"boxes" (N, 4) x1, y1, x2, y2 in the view, "scores" (N,), "category_ids" (N,)})."""

        def each(records, inputs, samples):
            return zip(records, self.kind.boxes(self.network, inputs, samples), strict=True)

        for batch in self.run(root, images, view, each):
            for image, found in batch:
                # An imported model may know categories that the dataset lacks; these come last.
                found = found[found.labels < len(self.category_ids)]
                yield (
                    image,
                    {
                        "boxes": found.bboxes.double().cpu().numpy(),
                        "scores": found.scores.double().cpu().numpy(),
                        "category_ids": self.category_ids[found.labels.cpu().numpy()],
                    },
                )

    def refined(
        self, root: Path, images: list[Image], regions: dict[int, np.ndarray], view: View
    ) -> Iterator[tuple[Image, np.ndarray, np.ndarray]]:
        """The output of the box head for given RoIs, without NMS.

        regions: image id → (n, 4) x1, y1, x2, y2 in the original image.

        Yields (image, boxes (n, C, 4) in the view, scores (n, C)): for each RoI a box and a score of each of
        C categories.
        """
        classes = len(self.category_ids)

        def each(records, inputs, samples):
            rois = self._rois(records, regions, view, inputs)
            found = self.kind.refined(self.network, inputs, samples, rois)
            return zip(records, found, strict=True)

        for batch in self.run(root, images, view, each):
            for image, sample in batch:
                boxes = sample.bboxes.double().cpu().numpy().reshape(len(sample), -1, 4)[:, :classes]
                scores = sample.scores[:, :classes].double().cpu().numpy()
                yield image, np.broadcast_to(boxes, (len(sample), classes, 4)), scores

    def heatmaps(
        self, root: Path, images: list[Image], regions: dict[int, np.ndarray], view: View
    ) -> Iterator[torch.Tensor]:
        """The keypoint head's output for given RoIs.

        regions: image id → (n, 4) x1, y1, x2, y2 in the original image.

        Yields heatmaps (n, K, 56, 56), logits in the frame of the view.
        """

        def each(records, inputs, samples):
            return self.kind.heatmaps(self.network, inputs, self._rois(records, regions, view, inputs))

        return self.run(root, images, view, each)

    @staticmethod
    def _rois(
        records: list[Image], regions: dict[int, np.ndarray], view: View, inputs: torch.Tensor
    ) -> list[torch.Tensor]:
        """The regions of each image in its view, (n, 4) on the device of the inputs."""
        size = [(image["width"], image["height"]) for image in records]
        return [
            torch.from_numpy(view.forward_boxes(regions[image["id"]], size)).to(inputs)
            for image, size in zip(records, size, strict=True)
        ]
