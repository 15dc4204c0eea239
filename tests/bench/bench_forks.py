"""The predictions of a study of 300 images, each job on its own, and in forks of one process (distill.forks).

python tests/bench/bench_forks.py [--config keypoint_rcnn_tiny] [--images 240 60] [--scales 112 144]

CPU time of all processes, that from which is forked too; the files are compared byte by byte.
"""

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import SCRIPTS, best_seconds, report

from distill.datasets.figures import CATEGORY, generate
from distill.files import write_json
from distill.forks import VARIABLE
from helpers.networks import random_model

PR_SET_CHILD_SUBREAPER = 36  # of Linux: orphans become this process's children, which their time is added to


def children_clock() -> float:
    times = os.times()
    return times.children_user + times.children_system


def jobs(folder: Path, output: Path, datasets: list[str], scales: list[int]) -> Iterator[list]:
    """The commands of all predictions of a keypoint model under its views, as the workflow has them."""
    views = [f"s{scale:04d}{flip}" for scale in scales for flip in ("", "-flip")]
    for name in datasets:
        common = [
            "--model",
            folder / "model",
            "--dataset",
            folder / f"{name}.json",
            "--shard",
            0,
            "--shards",
            1,
        ]
        boxes = output / f"{name}-boxes.json"
        limits = '{"min_score": 0.05, "per_image": 4}'  # as many as trained networks find in a figure's image
        yield ["detect_boxes.py", *common, "--view", views[0], "--fixed-boxes", limits, "--output", boxes]
        for view in views:
            yield [
                "predict_view.py",
                *common,
                "--view",
                view,
                "--boxes",
                boxes,
                "--output",
                output / f"{name}-{view}.h5",
            ]


def predict(folder: Path, output: Path, forks: bool, *study: list) -> None:
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    sockets = Path(tempfile.mkdtemp())
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "DISTILL_DEVICE": "cpu"} | (
        {VARIABLE: str(sockets)} if forks else {}
    )
    for command in jobs(folder, output, *study):
        command = [sys.executable, SCRIPTS / command[0], *map(str, command[1:])]
        done = subprocess.run(command, env=environ, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
    shutil.rmtree(sockets)
    try:
        while True:
            os.wait()
    except ChildProcessError:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="keypoint_rcnn_tiny")
    parser.add_argument("--images", type=int, nargs="+", default=[240, 60])
    parser.add_argument("--scales", type=int, nargs="+", default=[112, 144])
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [f"figures{number}" for number in range(len(args.images))]
        for number, (name, count) in enumerate(zip(names, args.images, strict=True)):
            coco = generate(folder / name, count, seed=number, size=(192, 144), style="photo")
            coco["info"]["image_root"] = str(folder / name)
            write_json(folder / f"{name}.json", coco)
        random_model(args.config, [CATEGORY], folder / "model")
        outputs = {forks: folder / f"forks-{forks}" for forks in (False, True)}
        seconds = best_seconds(
            *(
                lambda forks=forks: predict(folder, outputs[forks], forks, names, args.scales)
                for forks in outputs
            ),
            rounds=args.rounds,
            clock=children_clock,
        )
        files = [{path.name: path.read_bytes() for path in output.iterdir()} for output in outputs.values()]
        report(
            "forks",
            [
                {
                    "jobs": kind,
                    "number": len(files[0]),
                    "CPU s": taken,
                    "of those on their own": taken / seconds[0],
                }
                for kind, taken in zip(("each on its own", "in forks"), seconds, strict=True)
            ],
        )
        print("the same bytes" if files[0] == files[1] else "other bytes!")


if __name__ == "__main__":
    main()
