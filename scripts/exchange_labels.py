"""Labels into CVAT, Label Studio, FiftyOne or YOLO, most doubtful first if wanted; corrected ones back."""

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from distill import ROOT
from distill.datasets.coco import Coco, instances
from distill.datasets.dataset_file import read_dataset, root_of
from distill.datasets.images import check_upright
from distill.files import write_json, write_text
from distill.labels import yolo_export
from distill.labels.corrections import corrected, seen_in
from distill.labels.exchange import to_cvat, to_fiftyone, to_label_studio
from distill.labels.listed import read_next, read_review
from distill.labels.order import in_order
from distill.program import UserError, run
from distill.strict import read_json
from distill.study import schema
from distill.study.proposal_text import flow


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="writes the files to import into a tool")
    export.add_argument("tool", choices=["cvat", "label-studio", "fiftyone", "yolo"])
    export.add_argument("--labels", type=Path, required=True, help="labels/{labels}/annotations.json")
    export.add_argument("--output", type=Path, required=True, help="a folder for the files")
    export.add_argument(
        "--prefix",
        default="/data/local-files/?d=",
        help="what the images' URLs begin with (label-studio; of its local files, %(default)s and the path of"
        " the images' folder from its document root, with a slash at the end)",
    )
    export.add_argument("--labelled", type=Path, help="datasets/{labelled}.json, to train on too (yolo)")
    export.add_argument("--val", type=Path, help="datasets/{val}.json (yolo)")
    export.add_argument(
        "--ratio",
        type=float,
        nargs=2,
        help="labelled to generated images of an epoch (yolo; default: 6 4)",
    )
    export.add_argument(
        "--order",
        choices=["review", "next"],
        help="only images of review.csv or next.csv beside the labels, in that order, with the doubt",
    )
    export.add_argument("--images", type=int, help="so many of them (default: all)")
    back = commands.add_parser("import", help="brings corrected labels home")
    back.add_argument(
        "files", type=Path, nargs="+", help="what the tool exported: COCO, or Label Studio's JSON"
    )
    back.add_argument("--labels", type=Path, required=True, help="the labels that were corrected")
    back.add_argument(
        "--output", type=Path, required=True, help="the corrected COCO file, for a dataset of kind coco"
    )
    back.add_argument(
        "--only-seen",
        action="store_true",
        help="without the images that nobody has seen: to be labelled ones",
    )
    args = parser.parse_args()
    labels = read_dataset(args.labels)
    if args.command == "import":
        bring_home(args, labels)
        return
    if args.images is not None and args.images < 1:
        parser.error("--images must be at least 1")
    if args.images and not args.order:
        parser.error("--images needs --order")
    if args.tool != "yolo":
        export_for_tool(args, labels)
    elif args.order:
        parser.error("--order is for tools in which people look at labels, not for yolo")
    else:
        export_yolo(args, labels)


def bring_home(args: argparse.Namespace, labels: Coco) -> None:
    """Writes the corrected labels, and prints the entry of their dataset."""
    for path in (*args.files, args.labels):
        if path.resolve() == args.output.resolve():
            raise UserError(f"--output {path}: is read, and would be replaced; choose another name")
    files = {str(path): read_json(path) for path in args.files}
    result = corrected(labels, files, args.only_seen)
    before = seen_in(read_dataset(args.output)) if args.output.exists() else set()
    if before is None:
        what = "is there already, and no file of corrected labels; choose another --output"
        raise UserError(f"{args.output}: {what}")
    if lost := before - set(result["info"]["seen"]):
        what = f"has corrections that these files lack, of {len(lost)} images (first {min(lost)})"
        raise UserError(f"{args.output}: {what}; give their files too, or another --output")
    write_json(args.output, result)
    print(entry(labels, args.output))


def export_yolo(args: argparse.Namespace, labels: Coco) -> None:
    """Writes labelled and generated images as one dataset of YOLO's."""
    if args.labelled is None or args.val is None:
        raise UserError("export yolo: needs --labelled and --val, the datasets that belong to the labels")
    ratio = args.ratio or schema.defaults(ROOT, "models")["ratio"]
    if not all(0 < part < 1000 for part in ratio):
        raise UserError("--ratio: needs two numbers above 0 and below 1000")
    labelled, val = map(read_dataset, (args.labelled, args.val))
    paths = (args.labels, args.labelled, args.val)
    for dataset, path in zip((labels, labelled, val), paths, strict=True):
        root_of(dataset, path)
    yolo_export.export(labels, labelled, val, ratio, args.output)


def export_for_tool(args: argparse.Namespace, labels: Coco) -> None:
    """Writes labels for a tool in which people look at them."""
    labels = {**labels, "annotations": instances(labels)}  # others are no labels
    if args.order:
        folder = args.labels.parent
        following = read_next(folder / "next.csv") if args.order == "next" else None
        labels = in_order(labels, read_review(folder / "review.csv"), following, args.images)
    root = labels["info"].get("image_root")
    for image in labels["images"] if root else ():
        check_upright(Path(root, image["file_name"]), image)
    to: dict[str, Callable[..., dict]] = {
        "cvat": to_cvat,
        "fiftyone": to_fiftyone,
        "label-studio": partial(to_label_studio, prefix=args.prefix),
    }
    names = "".join(f"{image['file_name']}\n" for image in labels["images"])
    files = {**to[args.tool](labels), **({"images.txt": names} if args.order else {})}
    if there := [name for name in files if (args.output / name).exists()]:
        what = "is there already, and may be somebody's work; give a new folder"
        raise UserError(f"{args.output / there[0]}: {what}")
    for name, content in files.items():
        if isinstance(content, str):
            write_text(args.output / name, content)
        else:
            write_json(args.output / name, content)


def entry(labels: Coco, output: Path) -> str:
    """The line of a configuration that makes a dataset of corrected labels."""
    places = {"images": labels["info"].get("image_root") or "IMAGES", "annotations": output}
    spec = {"kind": "coco", **{key: os.path.abspath(path) for key, path in places.items()}}
    return flow({"corrected": spec})


if __name__ == "__main__":
    run(main)
