"""What is exported: a trained model and how it sees images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from distill.predictions.views import View


@dataclass(frozen=True)
class Trained:
    """A model, loaded.

    folder: of the model, for messages.
    cfg: its config.
    network, meta: as of `model.load`.
    view: what images are resized to; of a pose estimator, how far boxes are padded.
    """

    folder: Path
    cfg: Config
    network: Any
    meta: dict[str, Any]
    view: View
