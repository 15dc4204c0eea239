"""A prediction job against its bare network, mmdet's test-time augmentation, and a loop with torchvision.

python tests/bench/bench_prediction.py [--task keypoints] [--scale 600] [--images 8]

All run the same random weights (of the scale of trained ones) on the same images, with the same threads,
under a view and its mirror image. Seconds are CPU time (what else runs on the machine counts little), of an
image under one view; start-up has a row of its own. The
bare network has the pixels of every batch in memory and throws its results away. A job finds boxes anew in
every view, or heatmaps in the boxes that were found in the plain one, as in a study, and writes its file;
merging the views is in it too, as it is in mmdet's wrapper. torchvision's loop merges nothing.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
import numpy as np
import torch
from measure import ROOT, best_seconds, report, run_program
from mmcv.transforms import Compose
from mmdet.models.test_time_augs import DetTTAModel
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from torchvision.models.detection import fasterrcnn_resnet50_fpn, keypointrcnn_resnet50_fpn

import distill.models.data  # noqa: F401, mmdet's transforms without their chatter
from distill.datasets.figures import CATEGORY, generate
from distill.datasets.images import read_image
from distill.files import read_json, write_json
from distill.models.importing import import_model
from distill.models.prediction import detect_boxes, predict_boxes, predict_heatmaps
from distill.models.predictor import Predictor
from distill.predictions.merge import merge_boxes
from distill.predictions.merge_heatmaps import merge_heatmaps
from distill.predictions.views import View
from helpers.checkpoints import COCO, PERSON, scale_like_trained
from helpers.options import merge_options

SPREAD = {"rpn.head.cls_logits": 2, "rpn.head.bbox_pred": 0.3, "roi_heads.box_predictor.bbox_pred": 1}
HEADS = {
    "boxes": {"roi_heads.box_predictor.cls_score": 2.5},
    "keypoints": {
        "roi_heads.box_predictor.cls_score": 2,
        "roi_heads.keypoint_predictor.kps_score_lowres": 3,
    },
}
CONFIGS = {"boxes": "faster_rcnn_r50_fpn", "keypoints": "keypoint_rcnn_r50_fpn"}


class Bench:
    """The images, the weights as torchvision's model and as ours, and what is timed of them."""

    def __init__(self, folder: Path, task: str, images: int, scale: int, rois: int) -> None:
        self.folder, self.task = folder, task
        self.views = [View(scale), View(scale, flip=True)]
        self.limits = {"min_score": 0.0, "per_image": rois}
        coco = generate(folder / "images", images, seed=0, size=(640, 480), style="photo")
        coco["info"]["image_root"] = str(folder / "images")
        coco["categories"] = (
            [CATEGORY | PERSON]
            if task == "keypoints"
            else [{"id": i, "name": name} for i, name in enumerate(COCO) if i and name != "N/A"]
        )
        self.images = coco["images"]
        for name, some in (("dataset", coco["images"]), ("none", [])):
            write_json(folder / f"{name}.json", coco | {"images": some, "annotations": []})
        torch.manual_seed(0)
        if task == "boxes":
            self.torchvision = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
        else:
            self.torchvision = keypointrcnn_resnet50_fpn(
                weights=None, weights_backbone=None, box_detections_per_img=rois
            )
        pixels = self.pixels(self.images[0])
        self.torchvision.transform.min_size, self.torchvision.transform.max_size = (224,), 2000
        scale_like_trained(self.torchvision, SPREAD | HEADS[task], lambda: self.torchvision([pixels]))
        self.torchvision.transform.min_size = (scale,)
        torch.save(self.torchvision.state_dict(), folder / "torchvision.pth")
        spec = {"format": "torchvision", "checkpoint": str(folder / "torchvision.pth")}
        self.model = folder / "model"
        config = ROOT / f"config/models/{CONFIGS[task]}.py"
        import_model("model", config, spec, folder / "dataset.json", self.model)
        self.predictor = Predictor(self.model, "cpu")

    def pixels(self, image: dict) -> torch.Tensor:
        """(3, H, W) RGB from 0 to 1."""
        pixels = read_image(self.folder / "images" / image["file_name"])
        return torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1).float() / 255

    def prepare(self) -> None:
        """The boxes that keypoints are predicted in, and the pixels of every batch."""
        if self.task == "keypoints":
            start = time.process_time()
            arguments = (self.model, self.folder / "dataset.json", self.views[0], (0, 1), self.limits)
            detect_boxes(*arguments, self.boxes, device="cpu")
            self.detection = time.process_time() - start
            self.regions = {image["id"]: [] for image in self.images}
            for record in read_json(self.boxes):
                x, y, w, h = record["bbox"]
                self.regions[record["image_id"]].append([x, y, x + w, y + h])
        root, keep = self.folder / "images", lambda *batch: batch
        self.batches = [
            (view, *batch)
            for view in self.views
            for batch in self.predictor.run(root, self.images, view, keep)
        ]

    @property
    def boxes(self) -> Path:
        return self.folder / "boxes.json"

    @torch.inference_mode()
    def bare(self, network: torch.nn.Module | None = None, amp: bool = False) -> None:
        network = network or self.predictor.network
        for view, records, inputs, samples in self.batches:
            with torch.autocast("cpu", torch.bfloat16) if amp else nullcontext():
                if self.task == "boxes":
                    network.predict(inputs, samples, rescale=False)
                    continue
                rois = [
                    view.forward_boxes(self.regions[image["id"]], (image["width"], image["height"]))
                    for image in records
                ]
                index = np.repeat(np.arange(len(rois)), [len(boxes) for boxes in rois])
                rois = torch.from_numpy(np.c_[index, np.concatenate(rois)]).float()
                network.roi_head.predict_heatmaps(network.extract_feat(inputs), rois)

    def jobs(self, dataset: str = "dataset", amp: bool = False) -> None:
        """The jobs of all views, but for the interpreter's start."""
        outputs = []
        for view in self.views:
            suffix = "json" if self.task == "boxes" else "h5"
            outputs.append(self.folder / f"{view.name}.{suffix}")
            arguments = (self.model, self.folder / f"{dataset}.json", view, (0, 1))
            if self.task == "boxes":
                predict_boxes(*arguments, outputs[-1], device="cpu", amp=amp)
            else:
                boxes = self.boxes if dataset == "dataset" else self.folder / "no_boxes.json"
                predict_heatmaps(*arguments, outputs[-1], boxes, device="cpu", amp=amp)
        if dataset == "dataset":
            coco = read_json(self.folder / "dataset.json")
            merged = (
                merge_boxes(outputs, coco, merge_options())
                if self.task == "boxes"
                else merge_heatmaps(outputs, coco, merge_options(), self.boxes)
            )
            write_json(self.folder / "merged.json", list(merged))

    @torch.inference_mode()
    def wrapper(self) -> None:
        """mmdet's test-time augmentation of the same network, in batches of 4; it knows boxes only."""
        config = ConfigDict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=100)
        tta = DetTTAModel(tta_cfg=config, module=self.predictor.network)
        meta = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "flip", "flip_direction")
        flips = [[dict(type="RandomFlip", prob=float(view.flip)) for view in self.views]]
        resize = [[dict(type="Resize", scale=(2000, self.views[0].scale), keep_ratio=True)]]
        pack = [[dict(type="PackDetInputs", meta_keys=meta)]]
        pipeline = Compose(
            [dict(type="LoadImageFromFile"), dict(type="TestTimeAug", transforms=resize + flips + pack)]
        )
        items = []
        for image in self.images:
            path = str(self.folder / "images" / image["file_name"])
            items.append(pipeline(dict(img_path=path, img_id=image["id"])))
            if len(items) == 4 or image is self.images[-1]:
                tta.test_step(pseudo_collate(items))
                items = []

    @torch.inference_mode()
    def loop(self) -> None:
        """torchvision's model on one image after the other."""
        for image in self.images:
            pixels = self.pixels(image)
            for view in self.views:
                self.torchvision([pixels.flip(-1) if view.flip else pixels])


def seconds(functions: dict[str, Callable], rounds: int) -> dict[str, float]:
    """CPU time of each, by name."""
    best = best_seconds(*functions.values(), rounds=rounds, clock=time.process_time)
    return dict(zip(functions, best, strict=True))


def program_seconds(bench: Bench) -> float:
    """CPU time of a job of no images: imports, and the model."""
    model, empty, boxes = bench.model, bench.folder / "none.json", bench.folder / "no_boxes.json"
    arguments = ["--model", model, "--device", "cpu", "--dataset", empty, "--view", bench.views[0].name]
    arguments += ["--shard", 0, "--shards", 1]
    if bench.task == "boxes":
        arguments += ["--output", bench.folder / "nothing.json"]
    else:
        arguments += ["--output", bench.folder / "nothing.h5", "--boxes", boxes]
    return run_program("predict_view.py", *arguments)["CPU s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=["boxes", "keypoints"], nargs="+", default=["boxes", "keypoints"])
    parser.add_argument("--scale", type=int, default=600)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--rois", type=int, default=5, help="boxes of an image that get keypoints")
    parser.add_argument("--threads", type=int, default=1, help="a job of a study has one core")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tables = []
    for task in args.task:
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "no_boxes.json").write_text(json.dumps([]))
            bench = Bench(Path(name), task, args.images, args.scale, args.rois)
            bench.prepare()
            functions = {
                "bare network": bench.bare,
                "jobs": bench.jobs,
                "torchvision, one by one": bench.loop,
            }
            functions["empty jobs"] = lambda bench=bench: bench.jobs("none")
            functions["bare network, amp"] = lambda bench=bench: bench.bare(amp=True)
            functions["jobs, amp"] = lambda bench=bench: bench.jobs(amp=True)
            if task == "boxes":
                functions["mmdet's wrapper"] = bench.wrapper
            taken = seconds(functions, args.rounds)
            startup = program_seconds(bench)
        empty = taken.pop("empty jobs")
        for name in ("jobs", "jobs, amp"):
            taken[name] -= empty
        each = {name: t / (args.images * len(bench.views)) for name, t in taken.items()}
        for name, value in each.items():
            amp = ", amp" * ("amp" in name)
            row = {"task": task, "program": name, "s/image": value}
            row["over bare"] = value / each[f"bare network{amp}"] if name.startswith("jobs") else ""
            for rival in ("torchvision, one by one", "mmdet's wrapper"):
                ahead = name.startswith("jobs") and rival in each
                row[f"ahead of {rival.split(',')[0]}"] = each[rival] / value if ahead else ""
            tables.append(row)
        if task == "keypoints":
            once = bench.detection / args.images
            tables.append({"task": task, "program": "boxes of the plain view, once", "s/image": once})
        tables.append({"task": task, "program": "start-up of a job, CPU time", "s/image": startup})
    keys = list(dict.fromkeys(key for row in tables for key in row))
    rows = [{key: row.get(key, "") for key in keys} for row in tables]
    report(f"{bench.views[0].name} and its mirror image, {args.images} images, {args.threads} threads", rows)


if __name__ == "__main__":
    main()
