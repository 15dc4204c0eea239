"""What a model finds on a folder of images, on image files, or on a video: COCO results, and pictures."""

import argparse
from pathlib import Path

from distill.cluster.gpus import claim
from distill.program import DEVICE, UserError, bar, log, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder with model.pth and config.py")
    parser.add_argument(
        "--images", type=Path, required=True, nargs="+", help="a folder, image files, or one video"
    )
    parser.add_argument("--output", type=Path, required=True, help="JSON of COCO results")
    parser.add_argument("--draw", type=Path, help="folder for the images, or the video, with what was found")
    parser.add_argument(
        "--views",
        nargs="+",
        help="a view set of the model's study (usually plain), or views such as s0800 s0800-flip",
    )
    parser.add_argument(
        "--boxes", type=Path, help="folder of the model that finds a pose estimator's instances"
    )
    parser.add_argument("--min-score", type=float, default=0.0, help="the least score of a result")
    parser.add_argument("--device", default=DEVICE, choices=["auto", "cpu", "cuda"])
    parser.add_argument("--batch", type=int, help="most images in a batch (default 4, on a GPU 16)")
    parser.add_argument("--amp", action="store_true", help="bfloat16 where the hardware computes in it")
    parser.add_argument("--workers", type=int, help="processes that load images")
    args = parser.parse_args()
    claim(1, args.device)
    from distill.models.sources import Source
    from distill.models.usage import plan_of

    source, plan = Source.of(args.images), plan_of(args.model, args.views, args.boxes)
    if args.draw and args.draw.exists() and not args.draw.is_dir():
        raise UserError(f"{args.draw}: --draw names a folder")
    from distill.inspection import marked
    from distill.models.applied import predict_files
    from distill.models.predictor import Predictor

    predictor = Predictor(args.model, args.device, args.batch, args.workers, args.amp)
    used, categories = predictor.application(plan, args.min_score), predictor.meta["categories"]

    def draw(images: list, records: list) -> None:
        marked.draw_images(source.root, images, records, categories, args.draw)

    images = draw if args.draw and not source.video else None
    with bar(source.count(), "frame" if source.video else "image") as done:
        predict_files(predictor, source, used, args.output, done, images)
    if args.draw and source.video:
        video = Path(source.names[0])
        log.info("drawing %s", args.draw / f"{video.stem}.mp4")
        marked.draw_video(video, args.output, categories, args.draw / f"{video.stem}.mp4")


if __name__ == "__main__":
    run(main)
