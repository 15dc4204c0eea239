"""The whole way of a network, at a small size: built, trained, resumed, run, and in bfloat16."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np

from helpers.networks import training_job

CHECKS = ("builds", "trains", "resumes", "predicts", "folds", "bfloat16")
BOXES = np.array([[10.0, 10, 60, 90], [5, 20, 40, 50]])
SMALL = dict(iterations=2, batch=2, lr="auto", scales=[128], max_side=160)


def trial(config: str | Path, labelled: Path, folder: Path, checks=CHECKS, **spec) -> dict[str, str]:
    """Check → what was seen, or `no: ` and why not. Where one fails that others need, these are left out.

    config: of a study, placed.
    labelled: JSON of a dataset; its first image is predicted.
    folder: for all that is made.
    spec: options of the model.
    """
    from distill.datasets.dataset_file import read_dataset, root_of
    from distill.models import model as models
    from distill.models import training, work_folder
    from distill.models.predictor import Predictor
    from distill.predictions.views import View

    seen: dict[str, str] = {}
    coco = read_dataset(labelled)
    job = training_job(folder, "faster_rcnn_tiny", labelled, **{**SMALL, **spec})
    job = replace(job, config=Path(config))
    model = job.output / "model.pth"

    def build() -> str:
        cfg = models.load_config(job.config)
        models.fit_to_dataset(cfg, coco["categories"], str(config))
        count = sum(p.numel() for p in models.build(cfg).parameters())
        return f"{count / 1e6:.1f} M"

    def train() -> str:
        with patch.object(work_folder, "keep_newest"):
            training.train(job)
        return "yes"

    def resume() -> str:
        """From the checkpoint of the first iteration; of tensors the same bytes."""
        first = model.read_bytes()
        (job.work / "iter_2.pth").unlink()
        training.train(job)
        return "yes" if model.read_bytes() == first else "no: the weights differ"

    def predict() -> str:
        predictor = Predictor(job.output, "cpu", workers=0)
        root, images, view = root_of(coco, labelled), coco["images"][:1], View(job.spec["scales"][0])
        if "crops" in predictor.kind.can:
            (found,) = predictor.crops(root, images, {images[0]["id"]: BOXES}, view)
            assert len(found[0]) == len(BOXES)
        else:
            assert len(list(predictor.boxes(root, images, view))) == 1
        folded[:] = [predictor.folded]
        return "yes"

    def half() -> str:
        other = replace(job, work=folder / "half.work", output=folder / "half")
        with in_bfloat16():
            training.train(replace(other, spec={**job.spec, "amp": True, "iterations": 1}))
        return "yes"

    folded: list[int] = []
    steps = {"builds": build, "trains": train, "resumes": resume, "predicts": predict}
    steps |= {"folds": lambda: str(folded[0] or "none"), "bfloat16": half}
    for check in checks:
        try:
            seen[check] = steps[check]()
        except Exception as error:  # of whatever kind, it is the answer
            seen[check] = f"no: {type(error).__name__}: {' '.join(str(error).split())}"
            if check in ("builds", "trains", "predicts"):
                break
    return seen


@contextmanager
def in_bfloat16():
    """As if this machine computed in it; it does, slowly."""
    with (
        patch("distill.models.amp.supported", lambda device: True),
        patch("distill.models.predictor.supported", lambda device: True),
    ):
        yield
