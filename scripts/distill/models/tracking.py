"""A training to be watched while it runs: in TensorBoard, MLflow or Weights & Biases, by mmengine's backends.

It only looks: nothing of the training depends on it, and it leaves no trace in the model's files.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import VISBACKENDS

from distill.datasets.images import read_image
from distill.program import UserError
from distill.report.marking import mark
from distill.study.needs import missing_packages

PICTURES = 4  # of labelled images, and of generated ones


def backends(names: Sequence[str], folder: Path, model: str) -> list[Any]:
    """mmengine's. folder: for their files. Raises UserError where a package is missing."""
    if missing := missing_packages(names):
        raise UserError(f"model {model}: tracking: there is no {missing[0]} here; pip install {missing[0]}")
    kinds: dict[str, dict[str, Any]] = {
        "tensorboard": dict(type="TensorboardVisBackend"),
        "mlflow": dict(type="MLflowVisBackend", run_name=model),
        "wandb": dict(type="WandbVisBackend", init_kwargs=dict(name=model)),
    }
    return [VISBACKENDS.build(dict(**kinds[name], save_dir=str(folder))) for name in names]


class Tracking(Hook):
    """Hands on the config and some images with their labels at the start, losses and learning rate at the
    rows of the history, and AP where the training is validated.

    backends: of mmengine.
    interval: of the history, iterations.
    categories: of the dataset.
    """

    priority = "VERY_LOW"  # after the history and a validation

    def __init__(self, backends: list[Any], interval: int, categories: list[dict]) -> None:
        self.backends, self.interval = backends, interval
        self.categories = [{**category, "id": label} for label, category in enumerate(categories)]

    def before_train(self, runner) -> None:
        for backend in self.backends if is_main_process() else ():
            backend.add_config(runner.cfg)
            for name, pixels in self._pictures(runner.train_dataloader.dataset.datasets):
                backend.add_image(name, pixels, step=0)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        done = batch_idx + 1
        if not is_main_process() or (done % self.interval and done != runner.max_iters):
            return
        means = {key: value for key, value in runner.message_hub.log_scalars.items() if "/" in key}
        values = {key: float(value.current()) for key, value in means.items() if "time" not in key}
        for hook in runner.hooks:
            if done in (aps := getattr(hook, "aps", {})):
                values["validation/AP"] = 100 * aps[done]
        for backend in self.backends:
            backend.add_scalars(values, step=done)

    def after_train(self, runner) -> None:
        for backend in self.backends if is_main_process() else ():
            backend.close()

    def _pictures(self, parts: Sequence[Any]) -> Iterator[tuple[str, np.ndarray]]:
        """Names, and images (H, W, 3; RGB) with their labels."""
        for part in parts:
            for number in range(min(PICTURES, len(part))):
                info = part.get_data_info(number)
                records = [_record(one) for one in info["instances"] if not one["ignore_flag"]]
                pixels = read_image(info["img_path"], (info["width"], info["height"]), info.get("hash"))
                kind = "generated" if info["generated"] else "labelled"
                yield f"{kind}/{number}", mark(pixels, records, self.categories)[..., ::-1].copy()


def _record(instance: Mapping[str, Any]) -> dict[str, Any]:
    """An instance of mmdet's as an annotation."""
    x1, y1, x2, y2 = instance["bbox"]
    label, keypoints = instance["bbox_label"], instance.get("keypoints")
    return {"category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "keypoints": keypoints}
