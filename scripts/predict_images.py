"""What a model finds on a folder of images, on image files, or on a video: COCO results, and pictures."""

import argparse
from contextlib import redirect_stdout
from pathlib import Path

from predict_view import claimed, running

from distill.program import bar, log, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder with model.pth and config.py")
    parser.add_argument(
        "--images", type=Path, required=True, nargs="+", help="a folder, image files, or one video"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON of COCO results")
    parser.add_argument("--draw", type=Path, help="folder for the images, or the video, with what was found")
    parser.add_argument(
        "--draw-score", type=float, default=0.3, help="the least score of what is drawn (default 0.3)"
    )
    parser.add_argument(
        "--views",
        nargs="+",
        help="a view set of the model's study (usually plain), or views such as s0800 s0800-flip",
    )
    parser.add_argument(
        "--boxes", type=Path, help="folder of the model that finds a pose estimator's instances"
    )
    parser.add_argument("--min-score", type=float, default=0.0, help="the least score of a result")
    running(parser)
    args = claimed(parser)
    from distill.models.sources import Source
    from distill.models.usage import plan_of

    source, plan = Source.of(args.images), plan_of(args.model, args.views, args.boxes)
    with redirect_stdout(None):  # mmdet says there what is not installed
        from distill.inspection import marked
        from distill.models.applied import predict_files
        from distill.models.predictor import Predictor

    if args.draw:
        marked.check_copies(source, args.draw)
    predictor = Predictor(args.model, args.device, args.batch, args.workers, args.amp)
    used, categories = predictor.application(plan, args.min_score), predictor.meta["categories"]

    def draw_images(images: list, records: list) -> None:
        marked.draw_images(source.root, images, records, categories, args.draw, args.draw_score)

    def draw_video() -> None:
        copy = args.draw / marked.copy_of(source.names[0], video=True)
        log.info("drawing %s", copy)
        marked.draw_video(Path(source.names[0]), args.output, categories, copy, args.draw_score)

    draw = draw_images if args.draw and not source.video else None
    drawn = f"{args.draw.absolute()} {args.draw_score}" if draw else ""
    finish = draw_video if args.draw and source.video else None
    with bar(source.count(), "frame" if source.video else "image") as done:
        predict_files(predictor, source, used, args.output, done, draw, drawn, finish)


if __name__ == "__main__":
    run(main)
