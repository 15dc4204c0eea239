"""Makes a model of a published checkpoint of torchvision, detectron2, mmdet or mmpose."""

import argparse
import json
from pathlib import Path

from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the model")
    parser.add_argument(
        "--config", type=Path, required=True, help="model config: a path, mmdet::… or mmpose::…"
    )
    parser.add_argument("--spec", type=json.loads, required=True, help="JSON: format, checkpoint, …")
    parser.add_argument("--labelled", type=Path, required=True, help="COCO JSON with what it is to predict")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    args = parser.parse_args()
    from distill.models.importing import import_model

    import_model(**vars(args))


if __name__ == "__main__":
    run(main)
