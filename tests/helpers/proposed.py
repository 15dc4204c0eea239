"""What some data are like, and what is proposed for them."""

import yaml

from distill.study import facts, proposal, proposal_text
from distill.study.references import sources
from distill.study.resolve import resolve
from helpers import ROOT
from helpers.options import build

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


def datasets(path):
    """Those of a written study, built as the workflow does."""
    study = resolve(yaml.safe_load(path.read_text()), ROOT)
    made = {}
    while len(made) < len(study["datasets"]):
        for name, spec in study["datasets"].items():
            if name not in made and set(sources(spec)) <= set(made):
                own = {key: value for key, value in spec.items() if key != "share_predictions"}
                made[name] = build(name, own, made)
    return made


def hashes(dataset):
    return {image["hash"] for image in dataset["images"]}
