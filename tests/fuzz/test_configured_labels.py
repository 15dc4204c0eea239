"""Configurations: edits of a sound one in how labels are made: views, merging, thresholds."""

import pytest
import yaml

from distill.study.resolve import resolve
from fuzz.harness import edited, judge, table
from helpers import ROOT
from helpers.configs import SOUND

EDITS = """
# --- views ---
views = [] => views: must be mapping, not []
views.plain = [] => views.plain
views.plain = [{"scale": 200.0}] => views.plain.0.scale: must be integer, not 200.0
views.plain = [{"scale": "200"}] => views.plain.0.scale: must be integer
views.plain = [{"scale": 0}] => views.plain.0.scale: 0 is less than the minimum of 1
views.plain = [{"scale": 10**9}] => views.plain: view: scale must be whole pixels from 1 to 100000
views.plain = [{"scal": 200}] => views.plain.0: unknown key 'scal'; did you mean 'scale'?
views.plain = [{}] => views.plain
views.plain = [3] => views.plain.0: must be text or mapping, not 3
views.plain = ["s200"] => views.plain: 's200' names no view
views.plain = ["s0200", "s0200"] => views.plain: s0200 is listed twice
views.plain = ["s0160", "s0200"] => views.plain: must be a single view
views.plain = [{"scale": 200, "aspect": nan}] => views.plain.aspect: nan is no finite number
views.plain = [{"scale": 200, "aspect": 0}] => views.plain: view: aspect must be a number from 0.1 to 10, not 0
views.plain = [{"scale": 200, "aspect": 1.23456789}] => has too many digits
views.plain = [{"scale": 200, "rotate": 45}] => views.plain.0.rotate: 45 is not one of 0, 90, 180, 270
views.plain = [{"scale": 200, "flip": "yes"}] => views.plain.0.flip: must be boolean
views.all = {"scales": []} => views.all.scales
views.all = {"scales": [160], "scale": 200} => needs either 'scale' or 'scales'
views.all = null => views.all: must be mapping or list
# --- labels, merge, calibrate ---
labels = [] => labels: must be mapping, not []
labels.distilled = null => labels.distilled: must be mapping
labels.distilled.teacher = [] => labels.distilled.teacher
labels.distilled.teacher = ["teacher", "teacher"] => labels.distilled.teacher
labels.distilled.teacher = "student" => a cycle, each made from the next
labels.distilled.views = "none" => labels.distilled.views: there is no view set 'none'
labels.distilled = {"predictions": []} => labels.distilled.predictions
labels.distilled = {"predictions": ""} => labels.distilled.predictions
labels.distilled = {"predictions": 3} => labels.distilled.predictions: must be text or list, not 3
labels.distilled = {"predictions": ["a.json", "a.json"]} => labels.distilled.predictions
labels.distilled = {"predictions": ["a.json", 3]} => labels.distilled.predictions.1: must be text, not 3
labels.distilled = {"predictions": "a{b}.json"} => labels.distilled.predictions: 'a{b}.json' has braces
labels.distilled = {"predictions": ["a{b}.json"]} => labels.distilled.predictions.0: 'a{b}.json' has braces
labels.distilled = {"predictions": "a.json", "teacher": "teacher"} => labels.distilled: predictions take the place of a teacher; remove teacher
labels.distilled = {"predictions": "a.json", "views": "all", "teacher": "x"} => remove teacher and views
labels.distilled = {"predictions": "a.json", "labelled": "lost"} => labels.distilled.labelled: there is no dataset 'lost'
labels.distilled = {"predictions": "a.json", "labelled": "unlabelled"} => labels.distilled.labelled: the dataset 'unlabelled' has no annotations
labels.distilled = {"predictions": "a.json", "merge": {"boxes": "average"}} => labels.distilled.merge.boxes: average needs a teacher
labels.distilled = {"labelled": "labelled"} => labels.distilled.labelled: is for `predictions`
labels.distilled = {"predictions": "a.json"} => ok it["labels"]["distilled"]["posed"] and it["labels"]["distilled"]["labelled"] == "labelled"
labels.distilled.dataset = "unlabeled" => there is no dataset 'unlabeled'; did you mean 'unlabelled'?
merge.nms = 0 => merge.nms: 0 is less than or equal to the minimum of 0
merge.nms = 1.1 => merge.nms: 1.1 is greater than the maximum of 1
merge.nms = nan => merge.nms: nan is no finite number
merge.nms = "0.5" => merge.nms: must be number
merge.vote = 0 => merge.vote: 0 is less than or equal to the minimum of 0
merge.vote = -1 => merge.vote
merge.score = "mean" => merge.score: 'mean' is not one of id, avg, temp_avg
merge.beta = 0 => merge.beta: 0 is less than or equal to the minimum of 0
merge.beta = -1 => merge.beta
merge.beta = inf => merge.beta: inf is no finite number
merge.max_per_image = 0 => merge.max_per_image
merge.max_per_image = 100.0 => merge.max_per_image: must be integer, not 100.0
merge.boxes = "mean" => merge.boxes: 'mean' is not one of union, average
merge.average = "mean" => merge.average: 'mean' is not one of
merge.size_dependent = -1 => merge.size_dependent
merge.size_dependent = 900; views.all = {"scales": [100, 150]} => merge.size_dependent: views.all needs scales up to
merge.upsample = 1 => merge.upsample: must be boolean, not 1
merge.vot = 0.8 => merge: unknown key 'vot'; did you mean 'vote'?
labels.distilled.merge = {"nms": 0} => labels.distilled.merge.nms
calibrate.instances = -1 => calibrate.instances: -1 is less than the minimum of 0
calibrate.instances = inf => calibrate.instances: inf is no finite number
calibrate.instances = null => ok it["labels"]["distilled"]["calibrate"]["instances"] is None
calibrate.per = "image" => calibrate.per: 'image' is not one of category, all
calibrate.aim = "val" => calibrate.aim: 'val' is not one of labelled, validation
labels.distilled = {"predictions": "a.json", "calibrate": {"aim": "validation"}} => labels.distilled.calibrate.aim: validation needs a teacher
calibrate.score_floor = 2 => calibrate.score_floor
calibrate.agnostic_nms = 0 => calibrate.agnostic_nms
fixed_boxes = {"min_score": nan} => fixed_boxes.min_score: nan is no finite number
fixed_boxes = {"per_image": 20.0} => fixed_boxes.per_image: must be integer, not 20.0
fixed_boxes = {"per_label": 0.5} => fixed_boxes.per_label
"""


@pytest.mark.parametrize(("edits", "expected"), table(EDITS))
def test_an_edited_configuration(edits, expected):
    config = edited(yaml.safe_load(SOUND), edits)
    judge(expected, lambda: resolve(config, ROOT))
