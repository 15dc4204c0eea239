"""What a model sees under one view: boxes, or heatmaps in given boxes, in that view's own pixels.

Images are taken in an order of like shapes, so that a batch shares one padded size; an image's padding does
not depend on its batch, nor therefore on the number of shards.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.cnn import fuse_conv_bn
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import nn
from torch.utils.data import DataLoader, Dataset

from distill.datasets.images import read_image
from distill.datasets.keypoint_meta import keypoint_meta
from distill.datasets.kinds import shard
from distill.files import read_json, write_json
from distill.models.amp import keep_float32, supported
from distill.models.model import load, pick_device, pick_workers
from distill.predictions.boxes import xyxy_to_xywh
from distill.predictions.heatmap_file import HeatmapWriter
from distill.predictions.shared_boxes import SharedBoxes
from distill.predictions.views import View
from distill.program import UserError, progress

DIVISOR = 32  # the network pads to its coarsest stride
Image = dict[str, Any]


class ViewedImages(Dataset):
    """Images (3, H, W) uint8 of a dataset, resized and turned as in a view, but not mirrored: the device does
    that sooner. `images` are records of the dataset JSON."""

    def __init__(self, root: Path, images: list[Image], view: View) -> None:
        self.root, self.images, self.view = root, images, replace(view, flip=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Image, torch.Tensor]:
        image = self.images[index]
        pixels = read_image(self.root / image["file_name"], (image["width"], image["height"]))
        return image, torch.from_numpy(self.view.transform_image(pixels)).permute(2, 0, 1)


def in_order_of_shape(images: list[Image]) -> list[Image]:
    """Like shapes next to each other under every view: by aspect ratio, then size, then id."""
    return sorted(images, key=lambda i: (i["width"] / i["height"], i["width"], i["id"]))


def batches(images: list[Image], view: View, most: int) -> list[list[int]]:
    """Runs of at most `most` consecutive images whose views are padded to the same size."""
    runs: list[list[int]] = []
    last = None
    for index, image in enumerate(images):
        width, height = view.size(image["width"], image["height"])
        shape = (-(-width // DIVISOR), -(-height // DIVISOR))
        if shape != last or len(runs[-1]) == most:
            runs.append([])
        runs[-1].append(index)
        last = shape
    return runs


class Predictor:
    """A trained model on a device. `batch` images at most go through the network together; amp: its
    convolutions and matrix products in bfloat16, all but the last ones."""

    def __init__(
        self,
        folder: Path,
        device: str = "auto",
        batch: int | None = None,
        workers: int | None = None,
        amp: bool = False,
    ) -> None:
        self.device = pick_device(device)
        self.amp = amp and supported(self.device)
        self.network, self.meta = load(folder, self.device)
        fuse_conv_bn(self.network)  # normalisation only moves memory, a quarter of all that is moved
        if self.amp:
            for layer in self._last_layers():
                keep_float32(layer)
        self.batch = batch or (16 if self.device.type == "cuda" else 4)
        self.workers = pick_workers(self.device) if workers is None else workers
        self.category_ids = np.array([category["id"] for category in self.meta["categories"]])

    def _last_layers(self) -> list[nn.Module]:
        """Those that scores, boxes and heatmaps come from: in bfloat16, of 8 bits, many proposals would score
        the same, and NMS would keep any of them."""
        rpn, roi = self.network.rpn_head, self.network.roi_head
        layers = [rpn.rpn_cls, rpn.rpn_reg, roi.bbox_head.fc_cls, roi.bbox_head.fc_reg]
        return layers if roi.keypoint_head is None else [*layers, roi.keypoint_head.deconv]

    @torch.inference_mode()
    def run(self, root: Path, images: list[Image], view: View, each: Callable) -> Iterator[Any]:
        """Yields each(image records, features, samples) for every batch, in order."""
        dataset = ViewedImages(root, images, view)
        loader = DataLoader(
            dataset,
            batch_sampler=batches(images, view, self.batch),
            collate_fn=list,
            num_workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )
        for items in progress(loader, len(loader), f"batches of {view.name}"):
            records, pixels = zip(*items, strict=True)
            pixels = [p.to(self.device, non_blocking=True) for p in pixels]
            if view.flip:
                pixels = [p.flip(-1) for p in pixels]
            samples = [
                DetDataSample(
                    metainfo={"img_shape": p.shape[1:], "ori_shape": p.shape[1:], "scale_factor": (1, 1)}
                )
                for p in pixels
            ]
            data = self.network.data_preprocessor({"inputs": pixels, "data_samples": samples})
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
                result = each(records, data["inputs"], data["data_samples"])
            yield result

    def boxes(self, root: Path, images: list[Image], view: View) -> Iterator[tuple[Image, dict]]:
        """Yields (image, {"boxes" (N, 4) x1 y1 x2 y2 in the view, "scores" (N,), "category_ids" (N,)})."""

        def each(records, inputs, samples):
            return zip(records, self.network.predict(inputs, samples, rescale=False), strict=True)

        for batch in self.run(root, images, view, each):
            for image, sample in batch:
                found = sample.pred_instances
                # An imported model may know more categories than the dataset; these come last.
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
        """Yields (image, boxes (n, C, 4) in the view, scores (n, C)) for each of C categories, of the RoIs
        `regions` (image id → (n, 4) in the image): the box head's word on them, without suppression."""
        classes = len(self.category_ids)

        def each(records, inputs, samples):
            rois = self._rois(records, regions, view, inputs)
            head = self.network.roi_head
            found = head.predict_bbox(
                self.network.extract_feat(inputs),
                [sample.metainfo for sample in samples],
                [InstanceData(bboxes=boxes) for boxes in rois],
                rcnn_test_cfg=None,
            )
            return zip(records, found, strict=True)

        for batch in self.run(root, images, view, each):
            for image, sample in batch:
                boxes = sample.bboxes.double().cpu().numpy().reshape(len(sample), -1, 4)[:, :classes]
                scores = sample.scores[:, :classes].double().cpu().numpy()
                yield image, np.broadcast_to(boxes, (len(sample), classes, 4)), scores

    def heatmaps(
        self, root: Path, images: list[Image], regions: dict[int, np.ndarray], view: View
    ) -> Iterator[torch.Tensor]:
        """Yields heatmaps (n, K, 56, 56), logits in the view, of `regions` (image id → (n, 4), image)."""

        def each(records, inputs, samples):
            features = self.network.extract_feat(inputs)
            rois = bbox2roi(self._rois(records, regions, view, inputs))
            return self.network.roi_head.predict_heatmaps(features, rois)

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


def read_shard(dataset: Path, index: int, count: int) -> tuple[dict, Path, list[Image]]:
    """A dataset's JSON, image root, and the images of one shard in order of shape."""
    coco = read_json(dataset)
    return coco, Path(coco["info"]["image_root"]), in_order_of_shape(shard(coco["images"], index, count))


def result(image_id: int, category_id: int, box: np.ndarray, score: float) -> dict[str, Any]:
    """One record of COCO's results format; `box` is x, y, w, h."""
    return {
        "image_id": image_id,
        "category_id": int(category_id),
        "bbox": [round(float(value), 3) for value in box],
        "score": round(float(score), 6),
    }


def detect_boxes(
    model: Path, dataset: Path, view: View, shards: tuple[int, int], candidates: dict, output: Path, **options
) -> None:
    """Writes the boxes of a keypoint model: those of the plain view, in original pixels, that can still
    become labels or count in AP. `candidates`: min_score, and per_image, the most of one image."""
    _, root, images = read_shard(dataset, *shards)
    records = []
    for image, found in Predictor(model, **options).boxes(root, images, view):
        size = np.array([image["width"], image["height"]] * 2)
        boxes = view.inverse_boxes(found["boxes"], (image["width"], image["height"])).clip(0, size)
        sides = boxes[:, 2:] - boxes[:, :2]
        keep = (found["scores"] >= candidates["min_score"]) & (sides >= 1).all(1)
        order = np.argsort(-found["scores"][keep], kind="stable")[: candidates["per_image"]]
        rows = np.flatnonzero(keep)[order]
        for row, box in zip(rows, xyxy_to_xywh(boxes[rows]), strict=True):
            record = result(image["id"], found["category_ids"][row], box, found["scores"][row])
            records.append({"id": len(records) + 1, **record})
    write_json(output, records)


def predict_boxes(
    model: Path,
    dataset: Path,
    view: View,
    shards: tuple[int, int],
    output: Path,
    boxes: Path | None = None,
    **options,
) -> None:
    """Writes the boxes under one view, not inverted, with a header (design.md).

    With `boxes`, a file of `detect_boxes`: a box for each of these, with its id and category, as the box head
    refines and scores it under the view; otherwise those that the model proposes itself.
    """
    _, root, images = read_shard(dataset, *shards)
    predictor = Predictor(model, **options)
    records = []
    if boxes is None:
        for image, found in predictor.boxes(root, images, view):
            rows = zip(found["category_ids"], xyxy_to_xywh(found["boxes"]), found["scores"], strict=True)
            records += [result(image["id"], *row) for row in rows]
    else:
        shared = SharedBoxes.read(boxes, images, dataset)
        if unknown := set(shared.category_ids.tolist()) - set(predictor.category_ids.tolist()):
            raise UserError(f"{boxes}: category {min(unknown)} is unknown to {model}, so they share no boxes")
        column = {category: i for i, category in enumerate(predictor.category_ids.tolist())}
        refined = (
            (image, *one)
            for image, *found in predictor.refined(root, shared.images, shared.regions, view)
            for one in zip(*found, strict=True)
        )
        for row, (image, box, score) in enumerate(refined):  # in the file's order
            category = column[shared.category_ids[row]]
            record = result(
                image["id"], shared.category_ids[row], xyxy_to_xywh(box[category]), score[category]
            )
            records.append({"id": int(shared.ids[row]), **record})
    keys = ("id", "width", "height", "view_width", "view_height")
    sizes = [(image["width"], image["height"]) for image in images]
    header = [
        dict(zip(keys, (image["id"], *size, *view.size(*size)), strict=True))
        for image, size in zip(images, sizes, strict=True)
    ]
    names = {"view": view.name, "model": predictor.meta["model"], "dataset": dataset.stem}
    write_json(output, {**names, "images": header, "predictions": records})


def predict_heatmaps(
    model: Path, dataset: Path, view: View, shards: tuple[int, int], boxes: Path, output: Path, **options
) -> None:
    """Writes the heatmaps of given boxes under one view, not inverted, in the boxes' order."""
    _, root, images = read_shard(dataset, *shards)
    predictor = Predictor(model, **options)
    meta = keypoint_meta({"categories": predictor.meta["categories"]})
    if meta is None or predictor.network.roi_head.keypoint_head is None:
        raise UserError(f"{model}: has no keypoint head")
    shared = SharedBoxes.read(boxes, images, dataset)
    done = 0
    with HeatmapWriter(output, view, predictor.meta["model"], dataset.stem, meta) as writer:
        for heatmaps in predictor.heatmaps(root, shared.images, shared.regions, view):
            rows = slice(done, done + len(heatmaps))
            columns = (shared.image_ids, shared.xywh, shared.scores, shared.category_ids)
            writer.append(heatmaps, *(column[rows] for column in columns))
            done = rows.stop
