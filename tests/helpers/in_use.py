"""A model in the folder of a study, as programs that use it find it."""

import shutil
from pathlib import Path

from distill.files import write_json
from distill.predictions.merge import Options

VIEWS = ["s0112", "s0144-flip", "s0128-r090"]
LIMITS = {"min_score": 0.02, "per_image": 5, "per_label": None}


def study(results: Path, model: Path, options: Options, views=VIEWS) -> Path:
    """The folder of a model in a study of these merge options."""
    shutil.copytree(model, results / "models/student")
    merged = {name: {"views": name, "options": options.__dict__} for name in ("plain", "all")}
    content = {"views": {"plain": ["s0128"], "all": views}, "merged": merged, "fixed_boxes": LIMITS}
    write_json(results / "study.json", content)
    return results / "models/student"
