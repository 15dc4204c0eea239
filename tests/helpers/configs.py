"""The smallest study, and what it resolves to with more in it."""

import yaml

from distill.study.resolve import resolve
from helpers import ROOT

SMALLEST = """
datasets:
  labelled: {kind: coco, images: a, annotations: a.json}
  unlabelled: {kind: folder, images: b}
  val: {kind: coco, images: c, annotations: c.json}
model: faster_rcnn_tiny
"""


def study_of(text: str, extra: str = "") -> dict:
    return resolve(yaml.safe_load(text) | (yaml.safe_load(extra) or {}), ROOT)
