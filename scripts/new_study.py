"""Looks at labelled and unlabelled images, and writes a study that fits them, to be read and run."""

import argparse
import os
from pathlib import Path
from typing import Any

from distill.cluster.gpus import visible
from distill.datasets.fingerprints import fingerprints
from distill.datasets.images import SUFFIXES
from distill.datasets.kinds import build
from distill.datasets.splits import check_splits
from distill.datasets.videos import SUFFIXES as OF_VIDEOS
from distill.files import replacing
from distill.program import UserError, run
from distill.study import proposal
from distill.study.resolve import read, resolve
from distill.study.schema import defaults

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labelled", required=True, help="annotations, in COCO's format")
    parser.add_argument("--images", required=True, help="the folder of their images")
    parser.add_argument("--unlabelled", help="a folder of images, or of videos")
    parser.add_argument(
        "--val", help="annotations of validation images; else a fifth of the labelled ones is"
    )
    parser.add_argument("--val-images", help="the folder of their images, if it is another one")
    parser.add_argument(
        "--hide",
        type=float,
        help="hide the labels of this share of labelled images, to see what they would add",
    )
    parser.add_argument("--device", choices=["cpu", "gpu"], help="what for, if not for this machine")
    parser.add_argument(
        "--output", type=Path, required=True, help="config/NAME.yaml; results go to results/NAME"
    )
    args = parser.parse_args()
    if args.output.exists():
        raise UserError(f"{args.output} is there already; remove it, or choose another name")
    if args.hide is not None and not 0 < args.hide < 1:
        raise UserError(f"--hide {args.hide:g}: must be a share between 0 and 1")
    if not (args.unlabelled or args.hide):
        raise UserError("nothing is unlabelled: give --unlabelled FOLDER, or hide labels by --hide 0.8")
    paths = [args.images, args.labelled, args.unlabelled, args.val, args.val_images]
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths if path])

    def annotated(annotations: str, images: str) -> dict[str, Any]:
        named = {"images": images, "annotations": annotations}
        return {"kind": "coco", **{key: proposal.relative(path, folder) for key, path in named.items()}}

    def built(name: str, spec: dict[str, Any]) -> dict[str, Any]:
        places = {
            key: str(Path(folder, spec[key])) for key in ("images", "annotations", "videos") if key in spec
        }
        usual = {"unreadable": defaults(ROOT, "study")["unreadable"]}
        return build(name, {**usual, **defaults(ROOT, "datasets", spec["kind"]), **spec, **places}, {})

    spec = annotated(args.labelled, args.images)
    coco = built("labelled", spec)
    prints = list(fingerprints(coco, Path(coco["info"]["image_root"])))
    found = proposal.facts(coco, prints)
    val = annotated(args.val, args.val_images or args.images) if args.val else None
    if val:
        tested = built("val", val)
        theirs = list(fingerprints(tested, Path(tested["info"]["image_root"])))
        check_splits(("val", "labelled"), tested, coco, (theirs, prints))
    more, count = _unlabelled(args.unlabelled, folder) if args.unlabelled else (None, 0)
    sources = proposal.Sources(spec, more, val, args.hide or 0.0, count)
    device = args.device or ("gpu" if visible(os.environ) else "cpu")
    study = proposal.config(found, sources, f"results/{args.output.stem}", device)
    study = {"results": study.pop("results"), "data": folder, **study}
    seen = proposal.words(found, device)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.output) as path:
        path.write_text(proposal.text(study, seen), encoding="utf-8")
        resolve(read(path), ROOT)
    print("\n".join(seen))
    print(f"written: {args.output}; now: snakemake --configfile {args.output}")


def _unlabelled(path: str, folder: str) -> tuple[dict[str, Any], int]:
    """An entry for a folder of images or of videos, and how many images it gives."""
    names = [name for _, _, files in os.walk(path) for name in files]
    kinds = {"folder": SUFFIXES, "videos": OF_VIDEOS}
    counts = {kind: sum(name.lower().endswith(tuple(ends)) for name in names) for kind, ends in kinds.items()}
    kind = max(counts, key=lambda kind: counts[kind])
    if not counts[kind]:
        raise UserError(f"{path}: holds neither images nor videos")
    key = "images" if kind == "folder" else "videos"
    return {"kind": kind, key: proposal.relative(path, folder)}, counts[kind]


if __name__ == "__main__":
    run(main)
