"""What some data are like, and what is proposed for them."""

import yaml

from distill.study import facts, proposal, proposal_text
from distill.study.resolve import resolve
from helpers import ROOT

FACTS = facts.Facts(
    images=80,
    side=480,
    aspect=1.5,
    sizes=(0.1, 0.2, 0.5),
    counts={"cat": 90},
    keypoints=0,
    pairs=(),
    frames=False,
    posed=0.2,
)
COCO = {"kind": "coco", "images": "images", "annotations": "train.json"}
POOL = {"kind": "folder", "images": "more"}
GIVEN = proposal.Sources(COCO, POOL, None, 0, 700)


def study(found=FACTS, unlabelled=POOL, val=None, hide=0.0, device="cpu", unlabelled_images=700):
    """The proposal, and what it is resolved to."""
    sources = proposal.Sources(COCO, unlabelled, val, hide, unlabelled_images)
    config = proposal.config(found, sources, "results/x", device)
    written = yaml.safe_load(proposal_text.text(config, ["seen"]))
    assert written == config
    return config, resolve(config, ROOT)
