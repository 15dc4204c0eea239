"""Ways to run the same network: memory layout, batches, folded normalisation, bfloat16, torch.compile.

python tests/bench/bench_network.py [--task keypoints] [--scale 400] [--compile]

Seconds are of an image, of the bare network with its pixels in memory, the best of the rounds.
"""

import argparse
import copy
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from bench_prediction import Bench, seconds
from measure import report
from mmcv.cnn import fuse_conv_bn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=["boxes", "keypoints"], default="boxes")
    parser.add_argument("--scale", type=int, default=400)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="the backbone, too, which takes minutes")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name), args.task, args.images, args.scale, rois=5)
        bench.prepare()
        usual = bench.predictor.network
        contiguous = copy.deepcopy(usual).to(memory_format=torch.contiguous_format)
        folded = copy.deepcopy(usual)
        fuse_conv_bn(folded.backbone).to(memory_format=torch.channels_last)
        ways = {
            "contiguous": partial(bench.bare, contiguous),
            "channels last": bench.bare,
            "channels last, normalisation folded": partial(bench.bare, folded),
            "channels last, bfloat16": partial(bench.bare, amp=True),
            "channels last, bfloat16, folded": partial(bench.bare, folded, amp=True),
        }
        if args.compile:
            compiled = copy.deepcopy(folded)
            compiled.backbone = torch.compile(compiled.backbone)
            start = time.perf_counter()
            bench.bare(compiled)
            print(f"the first pass of the compiled backbone: {time.perf_counter() - start:.0f} s")
            ways["channels last, folded, compiled"] = partial(bench.bare, compiled)
        taken = seconds(ways, args.rounds)
        if args.task == "boxes":
            half = len(bench.batches) // 2
            bench.batches = [
                (view, one + other, torch.cat([upright, mirrored]), samples + others)
                for (view, one, upright, samples), (_, other, mirrored, others) in zip(
                    bench.batches[:half], bench.batches[half:], strict=True
                )
            ]
            taken |= seconds({"channels last, both flips in one batch": bench.bare}, args.rounds)
        bench.predictor.batch = 1
        bench.prepare()
        taken |= seconds({"channels last, batches of 1": bench.bare}, args.rounds)
    count = args.images * len(bench.views)
    usually = taken["channels last"]
    rows = [{"way": w, "s/image": t / count, "of channels last": t / usually} for w, t in taken.items()]
    report(f"{args.task}, shorter side {args.scale}, batches of up to 4, {args.threads} threads", rows)


if __name__ == "__main__":
    main()
