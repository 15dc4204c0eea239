"""Detects the fixed boxes of one shard, under the plain view: the RoIs of all views."""

import json

from predict_view import arguments, parsed

from distill.program import require, run


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument(
        "--fixed-boxes", type=json.loads, required=True, help='{"min_score": …, "per_image": …}'
    )
    args = parsed(parser)
    require(args["fixed_boxes"], ("min_score", "per_image"), "--fixed-boxes")
    from distill.models.prediction import detect_boxes

    detect_boxes(**args)


if __name__ == "__main__":
    run(main, imports="distill.models.prediction")
