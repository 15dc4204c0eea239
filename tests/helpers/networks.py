"""Trainings that take seconds."""

from pathlib import Path

from helpers import ROOT
from helpers.options import training_options

SPEC = training_options(iterations=20, batch=2, lr=0.02, scales=[96, 112], max_side=200, init="none")


def training_job(tmp_path: Path, config: str, labelled: Path, name="model", labels=None, **spec):
    """A Job of distill.models.training with small numbers."""
    from distill.models.training import Job

    return Job(
        name,
        ROOT / f"config/models/{config}.py",
        {**SPEC, **spec},
        labelled,
        labels,
        None,
        tmp_path / f"{name}.work",
        tmp_path / name,
        "cpu",
    )
