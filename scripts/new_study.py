"""Looks at labelled and unlabelled images, and writes a study that fits them, to be read and run."""

import argparse
import os
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from distill import ROOT
from distill.cluster.gpus import visible
from distill.datasets.coco import Coco
from distill.datasets.composed import subset
from distill.datasets.fingerprints import Fingerprint, fingerprints
from distill.datasets.kinds import build
from distill.datasets.splits import check_splits
from distill.files import replacing
from distill.program import UserError, run
from distill.study import facts, material, parts, proposal, proposal_text
from distill.study.resolve import read, resolve
from distill.study.schema import defaults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--labelled",
        required=True,
        help="annotations: a COCO file, a data.yaml of YOLO, or a folder of PASCAL VOC",
    )
    parser.add_argument("--images", help="the folder of their images, of a COCO file")
    parser.add_argument(
        "--only-annotated",
        action="store_true",
        help="labelled images without an object are ones that nobody looked at: they are no labelled images",
    )
    parser.add_argument("--unlabelled", help="a folder of images, or of videos")
    parser.add_argument(
        "--val",
        help="annotations of validation images; else those that a data.yaml or VOC's lists name, or a fifth",
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
    results = checked(args)
    paths = [args.images, args.labelled, args.unlabelled, args.val, args.val_images]
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths if path])
    found, sources, coco, prints = looked_at(args, folder)
    proposal.check_parts(found, sources)
    device = args.device or ("gpu" if visible(os.environ) else "cpu")
    study = proposal.config(found, sources, results, device)
    study = {"results": study.pop("results"), "data": folder, **study}
    seen = facts.words(found, sources.shared > 0, device, sources.val is None)
    seen += proposal_text.words(study, found, sources, device)
    if sources.val is None:
        made = parts.parts(study["datasets"], coco)
        parts.check(made, prints)
        seen += parts.words(found, made["labelled"], made["val"])
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.output) as path:
        path.write_text(proposal_text.text(study, seen), encoding="utf-8")
        resolve(read(path), ROOT)
    print("\n".join(seen))
    command = f"snakemake --configfile {shlex.quote(str(args.output))}"
    print(f"written: {args.output}; now: {command}")
    if device == "gpu":
        print(f"but first, for ImageNet's weights: {command} -- download")


def checked(args: argparse.Namespace) -> str:
    """The folder of the results. Raises UserError for unfit options, and for files there."""
    if args.output.is_dir():
        raise UserError(f"{args.output} is a folder; name a file, such as {args.output / 'mine.yaml'}")
    if args.output.exists():
        raise UserError(f"{args.output} is there already; remove it, or choose another name")
    if args.hide is not None and not 0 < args.hide < 1:
        raise UserError(f"--hide {args.hide:g}: must be a share between 0 and 1")
    if not (args.unlabelled or args.hide):
        raise UserError("nothing is unlabelled: give --unlabelled FOLDER, or hide labels by --hide 0.8")
    results = f"results/{args.output.stem}"
    if Path(results, "study.json").exists():
        other = "holds the results of another study; remove it, or choose another --output"
        raise UserError(f"{results} {other}")
    return results


def looked_at(
    args: argparse.Namespace, folder: str
) -> tuple[facts.Facts, proposal.Sources, Coco, list[Fingerprint]]:
    """What the labelled images are like, entries of all datasets, with paths from `folder` on, the labelled
    dataset, and what its images look like."""
    spec = material.annotated("--labelled", args.labelled, args.images, folder)
    val: dict[str, Any] | None
    if args.val:
        val = material.annotated("--val", args.val, args.val_images or args.images, folder)
        if val["kind"] == "yolo":
            val["split"] = "val"
        if spec["kind"] == "voc":
            spec, _ = material.own_validation(args.labelled, spec)
    else:
        spec, val = material.own_validation(args.labelled, spec)
    if args.images and "coco" not in {entry["kind"] for entry in (spec, val) if entry}:
        raise UserError(f"--images is for files of COCO; {args.labelled} says where its images are")
    look = partial(built, folder=folder, only_annotated=args.only_annotated)
    coco, prints = look("labelled", spec)
    found, known, validated = facts.facts_of(coco, prints), [coco], prints
    if val:
        tested, validated = look("val", val)
        if spec["kind"] == val["kind"] == "voc" and coco["categories"] != tested["categories"]:
            names = sorted({each["name"] for one in (coco, tested) for each in one["categories"]})
            spec["names"] = val["names"] = names  # neither folder shows them all
            (coco, prints), (tested, validated) = look("labelled", spec), look("val", val)
            found = facts.facts_of(coco, prints)
        check_splits(("val", "labelled"), tested, coco, (validated, prints))
        known = [coco, tested]
    elif found.frames:
        validated = prints[facts.validated_from(len(prints)) :]
    more = given(args, folder, found, known, validated) if args.unlabelled else {"unlabelled": None}
    own = {"val": val, "hide": args.hide or 0.0, "only_annotated": args.only_annotated}
    return found, proposal.Sources(spec, **own, **more), coco, prints


def given(
    args: argparse.Namespace,
    folder: str,
    found: facts.Facts,
    known: list[Coco],
    validated: list[Fingerprint],
) -> dict[str, Any]:
    """The unlabelled images, as `proposal.Sources` has them.

    known: the annotated datasets. validated: of the images that may be validated on.
    """
    entry, files = material.unlabelled(args.unlabelled, folder)
    if entry["kind"] == "videos":
        entry |= {"frames": proposal.frames_each(found.images, len(files)), "at": "even"}
        return {"unlabelled": entry, "unlabelled_images": material.frames(files, entry["frames"])}
    if len(shared := material.shared(files, known)) == len(files):
        hint = "give a folder with others, or " + (
            "leave --unlabelled out" if args.hide else "hide labels by --hide 0.8"
        )
        if found.empty:
            unseen = f"if nobody looked at the {found.empty} without an object, say --only-annotated"
            hint = f"{unseen}; else {hint}"
        raise UserError(f"{args.unlabelled}: all of its {len(files)} images are labelled ones; {hint}")
    stretch = None
    if found.frames and len(known) == 1:
        images, cut = known[0]["images"], facts.validated_from(found.images)
        early, late = ({image["hash"] for image in part} for part in (images[:cut], images[cut:]))
        stretch = material.stretch([n for n, digest in shared.items() if digest in late - early], len(files))
    start, end = (round(len(files) * part) for part in stretch or (0, 0))
    sample = material.scanned(files[:start] + files[end:])
    return {
        "unlabelled": entry,
        "unlabelled_images": len(files) - len(shared),
        "shared": len(shared),
        "copies": (material.alike(sample, known, validated), len(sample)),
        "aspect": material.aspect(sample),
        "stretch": stretch,
    }


def built(
    name: str, spec: dict[str, Any], folder: str, only_annotated: bool
) -> tuple[Coco, list[Fingerprint]]:
    """The dataset of an entry, or its annotated images alone, and what they look like."""
    places = {key: str(Path(folder, spec[key])) for key in ("images", "annotations") if key in spec}
    usual = {"unreadable": defaults(ROOT, "study")["unreadable"]}
    coco = build(name, {**usual, **defaults(ROOT, "datasets", spec["kind"]), **spec, **places}, {})
    if only_annotated:
        coco = subset({"of": name, "exclude": [], "annotated": True}, {name: coco}, None)
    return coco, list(fingerprints(coco, Path(coco["info"]["image_root"])))


if __name__ == "__main__":
    run(main)
