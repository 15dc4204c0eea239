"""FLOPs and memory traffic of the real networks under the paper's views, and what an H100 could do with them.

python tests/bench/bench_roofline.py [--image 640 480] [--images 123403]

Nothing is computed: the networks run on torch's meta device, operator by operator. The traffic is that of
eager execution whose operators find none of their inputs in a cache. An operator takes the longer of its
arithmetic and its traffic; RoIAlign, NMS and the decoding of boxes are not counted. docs/gpu.md says what
follows.
"""

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from mmcv.cnn import fuse_conv_bn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
from distill.models.model import build, fit_to_dataset, load_config
from distill.models.sources import DIVISOR
from distill.predictions.views import View
from helpers.options import expand

ROOT = Path(__file__).parents[2]
SCALES = range(400, 1300, 100)
PROPOSALS = 1000  # of an image, which the box head sees
PERSON = {"name": "person", "keypoints": ["point"] * 17}
# Seconds per image of detectron2 on a V100, batch 1, at 800 pixels (its MODEL_ZOO.md, Faster R-CNN FPN).
DETECTRON2 = {"r50": 0.038, "r101": 0.051, "x101_32x8d": 0.098}
BACKBONES = ["r50", "r101", "x101_32x4d", "x101_64x4d", "x101_32x8d"]


@dataclass(frozen=True)
class Machine:
    """Peaks of a data sheet (without sparsity): TFLOPS of convolutions and of matrix products, TB/s; and the
    bytes of a number."""

    convolution: float
    product: float
    bandwidth: float
    bytes: int


# NVIDIA's data sheets: V100 SXM2; H100 SXM; H200 SXM, whose arithmetic is the H100's. torch computes float32
# convolutions in TF32, products in float32.
V100 = Machine(15.7, 15.7, 0.9, 4)
H100 = Machine(494.7, 66.9, 3.35, 4)
H100_AMP = Machine(989.4, 989.4, 3.35, 2)
MACHINES = {"V100": V100, "H100": H100, "H100 amp": H100_AMP}
MACHINES |= {
    name.replace("H100", "H200"): replace(MACHINES[name], bandwidth=4.8) for name in ("H100", "H100 amp")
}


class Count(TorchDispatchMode):
    """FLOPs (a multiplication and an addition are two), numbers read and written, and seconds by machine."""

    def __init__(self) -> None:
        super().__init__()
        self.flops, self.numbers, self.seconds = 0, 0, dict.fromkeys(MACHINES, 0.0)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        if operator.is_view:
            return result
        numbers = sum(t.numel() for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor))
        name = operator.overloadpacket
        flops = flop_registry[name](*args, **(kwargs or {}), out_val=result) if name in flop_registry else 0
        for key, machine in MACHINES.items():
            peak = machine.product if name is torch.ops.aten.addmm else machine.convolution
            traffic = numbers * machine.bytes / machine.bandwidth
            self.seconds[key] += max(flops / peak, traffic) / 1e12
        self.flops, self.numbers = self.flops + flops, self.numbers + numbers
        return result


def count(function, *shapes) -> tuple[Count, object]:
    tensors = [torch.empty(shape, device="meta") for shape in shapes]
    with torch.no_grad(), Count() as counted:
        result = function(*tensors)
    return counted, result


def network(name: str, folded: bool):
    """Without weights; `folded`: as Predictor runs it."""
    cfg = load_config(ROOT / f"config/models/{name}.py")
    fit_to_dataset(cfg, [PERSON], name)
    cfg.model.backbone.init_cfg = None
    with torch.device("meta"):
        net = build(cfg).eval()
        return fuse_conv_bn(net) if folded else net


def rows(backbone: str, size: tuple[int, int], folded: bool = True, scales: Iterable = SCALES) -> list[dict]:
    """The parts of a forward pass: features and RPN of each view, box head, keypoint head."""
    net = network(f"keypoint_rcnn_{backbone}_fpn", folded)
    parts = []
    for scale in scales:
        width, height = (-(-side // DIVISOR) * DIVISOR for side in View(scale).size(*size))
        features, levels = count(net.extract_feat, (1, 3, height, width))
        proposing, _ = count(partial(net.rpn_head, levels))
        parts += [("features", scale, features), ("rpn", scale, proposing)]
    parts.append(("box head", 0, count(net.roi_head.bbox_head, (PROPOSALS, 256, 7, 7))[0]))
    # Of many RoIs, so that the weights are read once for all of them.
    many = 256
    parts.append((f"{many} keypoint RoIs", 0, count(net.roi_head.keypoint_head, (many, 256, 14, 14))[0]))
    return [
        {"backbone": backbone, "part": part, "scale": scale, "GFLOP": c.flops / 1e9, "GB": c.numbers * 4e-9}
        | {f"{name} ms": seconds * 1e3 for name, seconds in c.seconds.items()}
        for part, scale, c in parts
    ]


def views(parts: pd.DataFrame, roi: float) -> pd.DataFrame:
    """What an image takes under every view: of a box model (features, RPN, box head), and of a keypoint model
    in given boxes (features, `roi` RoIs)."""
    ms = [f"{name} ms" for name in MACHINES]
    of = parts.set_index(["backbone", "part", "scale"])[["GFLOP", "GB", *ms]]
    table = []
    for backbone in parts["backbone"].unique():
        for scale in sorted(set(parts["scale"]) - {0}):
            features, rpn = of.loc[backbone, "features", scale], of.loc[backbone, "rpn", scale]
            box, rois = of.loc[backbone, "box head", 0], of.loc[backbone, "256 keypoint RoIs", 0] * roi / 256
            for task, sum_ in (("boxes", features + rpn + box), ("keypoints", features + rois)):
                table.append({"backbone": backbone, "task": task, "scale": scale, **sum_})
    return pd.DataFrame(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=int, nargs=2, default=[640, 480], help="width and height")
    parser.add_argument("--images", type=int, default=123_403, help="of the data set (unlabeled2017)")
    parser.add_argument(
        "--rois", type=float, default=5, help="boxes of an image that get keypoints, on average"
    )
    args = parser.parse_args()
    size = tuple(args.image)
    parts = pd.DataFrame([row for name in BACKBONES for row in rows(name, size)])
    table = views(parts, args.rois)
    plain = table[(table.task == "boxes") & (table.scale == 800)].set_index("backbone")
    # What share of the roofline a real program reached on a V100; it folds nothing.
    unfolded = views(pd.DataFrame([row for n in DETECTRON2 for row in rows(n, size, False, [800])]), 0)
    unfolded = unfolded[unfolded.task == "boxes"].set_index("backbone")
    share = {name: unfolded.loc[name, "V100 ms"] / 1e3 / taken for name, taken in DETECTRON2.items()}
    reached = {name: share.get(name, share["x101_32x8d"]) for name in BACKBONES}
    for column in ("H100", "H100 amp"):
        table[f"{column} images/s"] = 1e3 / table[f"{column} ms"]
        table[f"{column} expected"] = table[f"{column} images/s"] * table["backbone"].map(reached)
    hours = table.groupby(["backbone", "task"], sort=False)[["H100 ms", "H100 amp ms"]].sum()
    hours *= 2 * args.images / 3.6e6  # both flips
    # A keypoint model finds its boxes first, in the plain view.
    for backbone in BACKBONES:
        hours.loc[backbone, "keypoints"] += plain.loc[backbone, ["H100 ms", "H100 amp ms"]].to_numpy() * (
            args.images / 3.6e6
        )
    hours.columns = ["H100 at the roofline", "H100 amp at the roofline"]
    for column in list(hours):
        hours[column.replace("at the roofline", "expected")] = hours[column] / [
            reached[b] for b, _ in hours.index
        ]
    folder = ROOT / "results/bench"
    folder.mkdir(parents=True, exist_ok=True)
    results = {
        "parts of the forward pass": parts,
        "views": table,
        "boxes at 800 without folding": unfolded.reset_index(),
        "share of the roofline that detectron2 reaches on a V100": pd.DataFrame([share]),
        f"GPU hours of {args.images} images under {len(expand(PAPER))} views": hours.reset_index(),
    }
    for title, frame in results.items():
        print(f"\n{title}\n{frame.to_string(index=False, float_format='{:.2f}'.format)}")
        frame.to_csv(folder / f"roofline-{title.replace(' ', '-')}.csv", index=False)


PAPER = {"scales": list(SCALES), "flip": True}

if __name__ == "__main__":
    main()
