"""Labels into CVAT or Label Studio (FiftyOne reads them as they are), and corrected ones back as COCO."""

import argparse
from pathlib import Path

from distill.datasets.dataset_file import read_dataset
from distill.files import replacing, write_json
from distill.labels.corrections import corrected
from distill.labels.exchange import to_cvat, to_label_studio
from distill.program import run
from distill.strict import read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="writes the files to import into a tool")
    export.add_argument("tool", choices=["cvat", "label-studio"])
    export.add_argument("--labels", type=Path, required=True, help="labels/{labels}/annotations.json")
    export.add_argument("--output", type=Path, required=True, help="a folder for the files")
    export.add_argument(
        "--prefix",
        default="/data/local-files/?d=",
        help="what the images' URLs begin with (label-studio; default: its local file storage)",
    )
    back = commands.add_parser("import", help="brings corrected labels home")
    back.add_argument(
        "files", type=Path, nargs="+", help="what the tool exported: COCO, or Label Studio's JSON"
    )
    back.add_argument("--labels", type=Path, required=True, help="the labels that were corrected")
    back.add_argument(
        "--output", type=Path, required=True, help="the corrected COCO file, for a dataset of kind coco"
    )
    arguments = parser.parse_args()
    labels = read_dataset(arguments.labels)
    if arguments.command == "import":
        write_json(
            arguments.output, corrected(labels, {str(path): read_json(path) for path in arguments.files})
        )
        return
    cvat = arguments.tool == "cvat"
    labels["annotations"] = [a for a in labels["annotations"] if not a["iscrowd"]]  # others are no labels
    for name, content in (to_cvat(labels) if cvat else to_label_studio(labels, arguments.prefix)).items():
        if isinstance(content, str):
            with replacing(arguments.output / name) as temporary:
                temporary.write_text(content, encoding="utf-8")
        else:
            write_json(arguments.output / name, content)


if __name__ == "__main__":
    run(main)
