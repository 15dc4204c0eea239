"""Small studies, and what they resolve to with more in them."""

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

DRAWN = """
datasets:
  all: {kind: figures, images: 9}
  labelled: {kind: subset, of: all, images: 3, seed: 5}
  unlabelled: {kind: subset, of: all, exclude: labelled, strip_annotations: true}
  val: {kind: figures, images: 4, seed: 1}
model: faster_rcnn_tiny
models: {teacher: {}, student: {labels: distilled, init: teacher, seed: 1}, upper: {labelled: all}}
"""

FOLDED = """
datasets:
  all: {kind: figures, images: 9}
  val: {kind: subset, of: all, fold: held, seed: 2}
  others: {kind: subset, of: all, fold: rest, seed: 2}
  labelled: {kind: subset, of: others, images: 3}
  unlabelled: {kind: subset, of: others, exclude: labelled, strip_annotations: true}
  more: {kind: subset, of: others, ids: "more-{seed}.txt"}
model: faster_rcnn_tiny
models: {teacher: {}, student: {labels: distilled}, upper: {labelled: others}}
"""

SOUND = """
datasets:
  labelled: {kind: coco, images: a, annotations: a.json}
  unlabelled: {kind: folder, images: b}
  val: {kind: coco, images: c, annotations: c.json}
  part: {kind: subset, of: labelled, fraction: 0.5}
model: {config: keypoint_rcnn_tiny}
models: {teacher: {iterations: 20}, student: {labels: distilled, iterations: 20}}
views: {plain: [{scale: 200}], all: {scales: [160, 200], flip: true}}
labels: {distilled: {}}
merge: {}
calibrate: {}
evaluate: {on: val}
tables: {t: {rows: [teacher, student]}}
"""


def study_of(text: str, extra: str = "") -> dict:
    return resolve(yaml.safe_load(text) | (yaml.safe_load(extra) or {}), ROOT)
