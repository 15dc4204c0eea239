"""AP on the validation dataset at a few points of a training, as the evaluation of the model measures it.

The network is written as a model and predicts as every model does. So nothing of the training is touched: its
weights are the same, to the last bit, as without.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
from mmengine.config import Config
from mmengine.dist import barrier, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook

from distill.datasets.dataset_file import read_dataset
from distill.evaluation.average_precision import evaluate
from distill.files import read_json, replacing, write_json, write_text
from distill.models import config_file
from distill.models.averaging import AverageWeights
from distill.models.prediction import detect_boxes, predict_boxes, predict_heatmaps
from distill.models.published.formats import State
from distill.models.weights import save_weights
from distill.predictions.merge import Options
from distill.predictions.merge_files import merge_files
from distill.predictions.views import View
from distill.program import log


class How(TypedDict):
    """views: those of an ordinary test. fixed_boxes, merge: options of the study."""

    views: list[str]
    fixed_boxes: dict[str, Any]
    merge: dict[str, Any]


def points(iterations: int, times: int, interval: int) -> list[int]:
    """The iterations after which a training is validated, so many times at most: evenly, where the history
    has rows, and at the end."""
    even = (round(n * iterations / times / interval) * interval for n in range(1, times))
    return sorted({max(interval, min(point, iterations)) for point in even} | {iterations})


class Validation(Hook):
    """Measures AP at some iterations. `aps`: iteration → AP, a fraction; `best`: the iteration of the highest
    (the first of equals) and its weights, if those are wanted. Both are in every checkpoint.

    at: the iterations.
    measure: function of a state dict; all processes call it, the first one is given AP.
    keep_best: whether the weights are wanted.
    """

    priority = "BELOW_NORMAL"  # after weights are averaged, before a checkpoint is written

    def __init__(self, at: list[int], measure: Callable[[State], float | None], keep_best: bool) -> None:
        self.at, self.measure, self.keep_best = frozenset(at), measure, keep_best
        self.aps: dict[int, float] = {}
        self.best: dict[str, Any] = {}  # iteration, state

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint["validation"] = {"aps": self.aps, "best": self.best}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if "validation" in checkpoint:
            state = checkpoint["validation"]
            self.aps, self.best = dict(state["aps"]), dict(state["best"])

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        iteration = batch_idx + 1
        if iteration not in self.at:
            return
        averages = [hook for hook in runner.hooks if isinstance(hook, AverageWeights)]
        network = getattr(runner.model, "module", runner.model)
        state = averages[0].mean() if averages else network.state_dict()
        ap = self.measure(state)
        if ap is None:
            return
        log.info("iteration %d: AP on the validation dataset %.1f%%", iteration, 100 * ap)
        if self.keep_best and ap > max(self.aps.values(), default=-1):
            copy = {key: value.detach().cpu().clone() for key, value in state.items()}
            self.best = {"iteration": iteration, "state": copy}
        self.aps[iteration] = ap


def average_precision(
    state: State, cfg: Config, meta: dict[str, Any], dataset: Path, how: How, device: str, folder: Path
) -> float | None:
    """AP of a network under the views, a fraction; each process predicts its share of the images, and all but
    the first are given None.

    state, cfg, meta: of the network, as of a model's files.
    dataset: JSON.
    device: cpu, cuda or auto.
    folder: for files on the way, removed in the end.
    """
    coco, share = read_dataset(dataset), (get_rank(), get_world_size())
    model = folder / "network"
    if is_main_process():
        shutil.rmtree(folder, ignore_errors=True)
        model.mkdir(parents=True)
        save_weights(model / "model.pth", state, meta)
        config_file.write(model / "config.py", cfg)
    barrier()
    mine = folder / str(get_rank())
    mine.mkdir()
    views, options = [View.parse(name) for name in how["views"]], Options(**how["merge"])
    boxes, heatmaps = None, meta["task"] == "keypoints"
    if heatmaps or options.boxes == "average":
        boxes = mine / "boxes.json"
        detect_boxes(model, dataset, views[0], share, how["fixed_boxes"], boxes, device=device)
    predict, ending = (predict_heatmaps, "h5") if heatmaps else (predict_boxes, "json")
    files = [mine / f"{view.name}.{ending}" for view in views]
    for view, file in zip(views, files, strict=True):
        predict(model, dataset, view, share, file, boxes, device=device)
    write_json(mine / "merged.json", merge_files(files, coco, options, boxes))
    barrier()
    if not is_main_process():
        return None
    merged = [record for rank in range(share[1]) for record in read_json(folder / f"{rank}/merged.json")]
    shutil.rmtree(folder)
    return evaluate(coco, merged, meta["task"], resampled=False)["AP"] or 0.0


def write_history(source: Path, output: Path, validated: Validation | None) -> None:
    """Copies the history of a training; if it was validated, with a column AP, in percent, of some rows."""
    if validated is None:
        with replacing(output) as temporary:
            shutil.copyfile(source, temporary)
        return
    rows = pd.read_csv(source, dtype=str, keep_default_na=False)
    found = {str(iteration): f"{100 * ap:.3f}" for iteration, ap in validated.aps.items()}
    rows["AP"] = rows["iteration"].map(found).fillna("")
    write_text(output, rows.to_csv(index=False))
