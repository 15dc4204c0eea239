"""Shows any artifact of the pipeline in words and, with --image, as a picture."""

import argparse
from pathlib import Path

from distill.inspection.words import damaged, describe, resolve
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, help="a file below the results folder, or a model's folder")
    parser.add_argument("--image", type=Path, metavar="PNG", help="the picture to write; .svg and .pdf too")
    parser.add_argument("--image-id", type=int, help="the image to draw (default: that of the best score)")
    parser.add_argument(
        "--row", type=int, help="of heatmaps, the instance to draw (default: the best score's)"
    )
    parser.add_argument(
        "--dataset", type=Path, help="the dataset's JSON, if it is not in the same results folder"
    )
    args = parser.parse_args()
    path = resolve(args.path)
    print("\n".join(describe(path)))
    if args.image:
        from distill.inspection.pictures import picture, save  # matplotlib takes a second to import

        with damaged(path):
            drawn = picture(path, args.dataset, args.image_id, args.row)
        save(drawn, args.image)
        print(f"picture: {args.image}")


if __name__ == "__main__":
    run(main)
