"""COCO datasets and the transforms that carry keypoints through resizing and flipping.

`gt_keypoints` is (N, K, 3): x, y in pixels of the current image, visibility 0, 1 or 2.
"""

from contextlib import redirect_stdout

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import ConcatDataset

from distill.datasets.coco import Coco
from distill.datasets.dataset_file import read_dataset, root_of
from distill.datasets.images import read_image
from distill.program import UserError

with redirect_stdout(None):  # mmdet says which optional libraries it lacks
    from mmdet.datasets import BaseDetDataset
    from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, RandomFlip, Resize


def counts(ignored: int, keypoints: list[float] | None, posed: bool) -> bool:
    """Whether an image is trained on for the sake of an instance. posed: only of one with a visible keypoint.

    keypoints: flat x, y, v."""
    return not ignored and (not posed or any(v > 0 for v in (keypoints or [])[2::3]))


def learned_images(coco: Coco, posed: bool) -> int:
    """How many images of a dataset are trained on."""
    found = (a for a in coco["annotations"] if counts(a.get("iscrowd", 0), a.get("keypoints"), posed))
    return len({a["image_id"] for a in found})


@DATASETS.register_module()
class CocoJson(BaseDetDataset):
    """A dataset artifact: COCO JSON with `info.image_root`. Images without an instance are left out of
    training, as in Detectron.

    An item is asked for by (index, key), as the sampler gives them; the key seeds its random transforms.

    ann_file: path.
    generated: whether its annotations are a teacher's.
    background: whether what no annotation covers counts as background.
    weight: of an instance in the loss, its `score`, or none: 1. regress: whether boxes are learned from it.
    posed: leaves images out, too, on which no keypoint is visible (Detectron's `has_visible_keypoints`).
    """

    def __init__(
        self,
        ann_file: str,
        generated: bool = False,
        background: bool = True,
        posed: bool = False,
        weight: str | None = None,
        regress: bool | None = None,
        **kwargs,
    ) -> None:
        self.generated, self.background, self.posed = generated, background, posed
        self.weight, self.regress = weight, regress
        super().__init__(ann_file=ann_file, serialize_data=True, **kwargs)

    def load_data_list(self) -> list[dict]:
        coco = read_dataset(self.ann_file)
        root = root_of(coco, self.ann_file)
        label = {category["id"]: i for i, category in enumerate(coco["categories"])}
        instances: dict[int, list[dict]] = {image["id"]: [] for image in coco["images"]}
        for annotation in coco["annotations"]:
            x, y, w, h = annotation["bbox"]
            instance = {
                "bbox": [x, y, x + w, y + h],
                "bbox_label": label[annotation["category_id"]],
                "ignore_flag": int(annotation.get("iscrowd", 0)),
                "keypoints": annotation.get("keypoints"),
            }
            if self.weight:
                trust = annotation.get("score", 1.0) if self.weight == "score" else 1.0
                instance["weights"] = [trust, trust * bool(self.regress)]
            instances[annotation["image_id"]].append(instance)
        records = [
            {
                "img_path": str(root / image["file_name"]),
                "img_id": image["id"],
                "width": image["width"],
                "height": image["height"],
                "hash": image.get("hash"),
                "generated": self.generated,
                "background": self.background,
                "unsure": self.generated and any(i["ignore_flag"] for i in instances[image["id"]]),
                "instances": instances[image["id"]],
            }
            for image in coco["images"]
            if any(map(self._counts, instances[image["id"]]))
        ]
        if not records:
            what = "a visible keypoint" if self.posed else "an instance"
            raise UserError(f"{self.ann_file}: no image with {what} to train on")
        self.tall = np.array([record["height"] > record["width"] for record in records])
        return records

    def _counts(self, instance: dict) -> bool:
        return counts(instance["ignore_flag"], instance["keypoints"], self.posed)

    def prepare_data(self, idx):
        index, key = idx
        np.random.seed(np.random.SeedSequence(key).generate_state(4))  # noqa: NPY002, read by mmcv's transforms
        return self.pipeline(self.get_data_info(index) | {"dataset": self})  # of which `mixing` draws more


@DATASETS.register_module()
class MixedDataset(ConcatDataset):
    """Labelled images first, then those with generated labels; items are asked for as of CocoJson."""

    @property
    def sizes(self) -> list[int]:
        """Number of images of each part."""
        return [len(dataset) for dataset in self.datasets]

    @property
    def tall(self) -> list[np.ndarray]:
        """Of each part (images,) whether they are higher than wide."""
        return [dataset.tall for dataset in self.datasets]

    @property
    def labels(self) -> list[list[set[int]]]:
        """Of each part and image, the labels of its instances."""
        return [
            [
                {i["bbox_label"] for i in dataset.get_data_info(index)["instances"] if not i["ignore_flag"]}
                for index in range(len(dataset))
            ]
            for dataset in self.datasets
        ]

    def __getitem__(self, item):
        index, key = item
        part, offset = self._get_ori_dataset_idx(index)
        return self.datasets[part][offset, key]


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Reads an image with the same rules as the dataset stage (EXIF, greyscale, 16 bits …)."""

    def transform(self, results: dict) -> dict:
        size = (results["width"], results["height"])
        image = read_image(results["img_path"], size, results.get("hash"))
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadInstances(LoadAnnotations):
    """mmdet's boxes, labels and ignore flags, `gt_keypoints` (N, K, 3) where `keypoints` = K > 0, and
    `gt_weights` (N, 2) where instances have weights in the loss."""

    def __init__(self, keypoints: int = 0) -> None:
        super().__init__(with_bbox=True, with_label=True)
        self.keypoints = keypoints

    def transform(self, results: dict) -> dict:
        results = super().transform(results)
        if self.keypoints:
            # An instance of a category without keypoints has none that is visible.
            empty = [0.0] * (3 * self.keypoints)
            rows = [instance["keypoints"] or empty for instance in results["instances"]]
            results["gt_keypoints"] = np.array(rows, np.float32).reshape(-1, self.keypoints, 3)
        weights = [instance["weights"] for instance in results["instances"] if "weights" in instance]
        if weights:
            results["gt_weights"] = np.array(weights, np.float32)
        return results


@TRANSFORMS.register_module()
class ResizeInstances(Resize):
    """mmdet's Resize; keypoints follow with the exact factors of x and y. No side is less than a pixel, as in
    views."""

    def _resize_img(self, results: dict) -> None:
        height, width = results["img"].shape[:2]
        (short, long), wanted = sorted((height, width)), sorted(results["scale"])
        factor = min(wanted[0] / short, wanted[1] / long)
        if 2 * short * factor < 1:
            long = round(long * factor)
            results["scale"] = (long, 1) if width > height else (1, long)
            self.keep_ratio = False
        super()._resize_img(results)
        self.keep_ratio = True

    def transform(self, results: dict) -> dict:
        results = super().transform(results)
        if "gt_keypoints" in results:
            results["gt_keypoints"][..., :2] *= np.asarray(results["scale_factor"], np.float32)
        return results


@TRANSFORMS.register_module()
class FlipInstances(RandomFlip):
    """mmdet's horizontal RandomFlip; keypoints are mirrored and exchanged by mmpose's `flip_indices`."""

    def __init__(self, prob: float = 0.5, flip_indices: list[int] | None = None) -> None:
        super().__init__(prob=prob, direction="horizontal")
        self.flip_indices = flip_indices

    def _flip(self, results: dict) -> None:
        super()._flip(results)
        if "gt_keypoints" in results:
            keypoints = results["gt_keypoints"][:, self.flip_indices]
            keypoints[..., 0] = results["img"].shape[1] - keypoints[..., 0]
            results["gt_keypoints"] = keypoints


@TRANSFORMS.register_module()
class PackInstances(PackDetInputs):
    """mmdet's PackDetInputs with keypoints, weights, and in the metainfo what CocoJson says of the image."""

    mapping_table = {  # noqa: RUF012
        **PackDetInputs.mapping_table,
        "gt_keypoints": "keypoints",
        "gt_weights": "weights",
    }

    def __init__(self) -> None:
        super().__init__(
            meta_keys=(
                "img_id",
                "img_path",
                "ori_shape",
                "img_shape",
                "scale_factor",
                "flip",
                "generated",
                "background",
                "unsure",
            )
        )
