"""Artifacts that were edited by hand: what reads one says which, in a line."""

import json

import pytest

from fuzz.harness import edited, judge, table, text_of
from helpers.artifacts import (
    BOXES,
    DATASET,
    EVALUATION,
    LABELS,
    MERGED,
    PRINTS,
    RUN,
    SHARD,
    SPLITS,
    THRESHOLDS,
)

EDITS = {
    THRESHOLDS: """
instances = [] => is damaged, or another file (expected `object`, got `array` - at `$.instances`)
instances.3.threshold = "0.5" => is damaged, or another file (expected `float | null`, got `str`
instances.3.threshold = 0.99 => labels instead of the calibrated
instances.3.threshold = null => labels instead of the calibrated
instances.3.met = 1.5 => is damaged, or another file (expected `int`, got `float`
instances.3.met = -1 => is damaged, or another file
instances.3.met = 10**400 => is damaged, or another file
del instances.3.met => is damaged, or another file (object missing required field `met`
del instances.3 => thresholds.json is of other categories
instances = {"hand": old["3"], "7": old["7"]} => the thresholds are by the ids of categories, and 'hand' is none
instances = {"-1": old["3"], "7": old["7"]} => the thresholds are by the ids of categories, and '-1' is none
instances = {"9" * 400: old["3"], "7": old["7"]} => thresholds.json is of other categories
del instances => is damaged, or another file
del keypoints => is damaged, or another file
keypoints = null => ok all(not a.get("num_keypoints") for a in it["annotations"])
keypoints.threshold = [] => is damaged, or another file
keypoints.threshold = 2 => ok all(not a.get("num_keypoints") for a in it["annotations"])
keypoints.threshold = nan => is damaged, or another file
agnostic_nms = "no" => is damaged, or another file
agnostic_nms = 0 => is damaged, or another file
agnostic_nms = 7 => is damaged, or another file
images.labelled = "many" => is damaged, or another file
""",
    DATASET: """
images.0.id = "1" => is damaged, or another file (expected `int`, got `str` - at `$.images[0].id`)
images.0.id = -1 => is damaged, or another file
images.1.id = 7 => of its images, two have one id
images.0.width = 0 => is damaged, or another file
images.0.width = 128.5 => is damaged, or another file
images.0.width = 10**400 => is damaged, or another file
images.0.file_name = null => is damaged, or another file
del images.0.height => is damaged, or another file
images.0 = null => is damaged, or another file
images = null => is damaged, or another file
images = [] => ok it["images"] == []
images.0.hash = 5 => is damaged, or another file
info = null => is damaged, or another file
info.skipped = 3 => is damaged, or another file
info.image_root = 3 => is damaged, or another file
annotations = {} => is damaged, or another file
categories = null => is damaged, or another file
more = nan => not a JSON file
""",
    LABELS: """
annotations.0.bbox = [1, 2, 3] => is damaged, or another file
annotations.0.bbox = [1, 2, 0, 4] => annotation 1: bbox [1, 2, 0, 4] has no area in its image
annotations.0.bbox = [1, 2, -3, 4] => annotation 1: bbox [1, 2, -3, 4] has no area in its image
annotations.0.bbox = [500, 2, 3, 4] => annotation 1: bbox [500, 2, 3, 4] has no area in its image
annotations.0.bbox.0 = nan => not a JSON file
annotations.0.bbox.0 = 1e300 => is damaged, or another file
annotations.0.bbox.0 = 10**400 => is damaged, or another file
annotations.0.bbox = null => is damaged, or another file
annotations.0.image_id = 999 => annotation 1 is of the unknown image 999
annotations.0.category_id = 999 => annotation 1 is of the unknown category 999
annotations.0.iscrowd = 2 => is damaged, or another file
annotations.1.id = 1 => of its annotations, two have one id
annotations.*.keypoints = [1, 1, 2] => has 1 keypoints, not
annotations.*.keypoint_scores = [1] => has 1 keypoints, not
annotations.0.score = "high" => is damaged, or another file
annotations.0 = 3 => is damaged, or another file
annotations = [] => ok it["annotations"] == []
categories.0.keypoints = "tip" => is damaged, or another file
categories.0.keypoints = ["tip"] => joins or swaps keypoints that it does not name
categories.0.skeleton = [[1, 9]] => joins or swaps keypoints that it does not name
categories.0.flip_pairs = [[1, -2]] => joins or swaps keypoints that it does not name
categories.0.name = null => is damaged, or another file
categories = [] => is of the unknown category
del info => does not say where its images are (info.image_root)
del info.image_root => does not say where its images are (info.image_root)
del annotations.0.area => ok it["annotations"][0]["area"] > 0
del annotations.0.iscrowd => ok it["annotations"][0]["iscrowd"] == 0
""",
    EVALUATION: """
AP = null => is damaged, or another file (expected `float`, got `null` - at `$.AP`)
del AP => is damaged, or another file (object missing required field `AP`)
AP = "0.5" => is damaged, or another file
AP = 47.1 => is damaged, or another file
AP = -1 => is damaged, or another file
AP = nan => not a JSON file
AP = 0.123 => contradicts itself on keypoints
AP50 = null => contradicts itself on keypoints
AP = 0.5; keypoints.AP = 0.5 => ok it["AP"].tolist() == [50]
keypoints.AP = null => is damaged, or another file
keypoints = null => contradicts itself on keypoints
del keypoints => contradicts itself on keypoints
del boxes => is damaged, or another file
boxes = {} => is damaged, or another file
boxes.AP = null => is damaged, or another file
model = "teacher" => is another evaluation: it is of the model 'teacher', not of 'student'
dataset = "test" => is another evaluation: it is of the dataset 'test', not of 'val'
views = "all" => is another evaluation: it is of the view 'all', not of 'plain'
del model => is damaged, or another file
model = 3 => is damaged, or another file
task = "pose" => is damaged, or another file
task = "boxes" => contradicts itself on boxes
images = 1.5 => is damaged, or another file
keypoints.APM = null; APM = null => ok it["APM"].isna().all()
keypoints.precision = 3 => is damaged, or another file
keypoints.per_category = {"arrow": "x"} => is damaged, or another file
""",
    MERGED: """
0.image_id = 999 => prediction on image 999, which the unlabelled dataset lacks; predict it again
0.image_id = 10**400 => not a file of predictions
0.bbox.0 = 1e300 => not a file of predictions
0.image_id = "7" => not a file of predictions
0.image_id = 7.5 => not a file of predictions
0.category_id = 999 => prediction of category 999, which the labelled dataset lacks
0.bbox = [1, 2, 3] => not a file of predictions
0.bbox = null => not a file of predictions
0.bbox.0 = nan => a number is not finite
0.bbox.0 = inf => a number is not finite
0.score = null => not a file of predictions
0.score = "0.5" => not a file of predictions
del 0.score => not a file of predictions
del 0.bbox => not a file of predictions
0 = 3 => not a file of predictions
*.keypoints = [1, 2, 0.5] => a prediction has 1 keypoints, not 3
0.bbox = [0, 0, -5, 5] => ok
""",
    SHARD: """
view = "s96" => 's96' names no view
view = 3 => not a file of predictions
del view => not a file of predictions
images = [] => its records are not of its images in their order
images.0.id = 999 => is not in the dataset
images.0.width = 5 => was not predicted in the size of
images.0.width = "5" => not a file of predictions
predictions = null => expected a list of predictions
predictions = 3 => expected a list of predictions
del predictions => expected a list of predictions
predictions.0.image_id = 999 => its records are not of its images in their order
predictions.0.bbox.0 = nan => a number is not finite
predictions.0.bbox = [] => not a file of predictions
predictions = [] => ok it == []
""",
    BOXES: """
0.image_id = 999 => is not of this shard of
0.bbox = [1, 2, 3] => is damaged, or another file
0.bbox = null => is damaged, or another file
0.score = "x" => is damaged, or another file
del 0.id => its boxes have no ids
0.id = 1.5 => is damaged, or another file
0.category_id = 10**400 => is damaged, or another file
0 = null => is damaged, or another file
""",
    PRINTS: """
images = 3 => is damaged, or another file
images.0.id = "x" => is damaged, or another file
images.0.pixels = 3 => is damaged, or another file
images.0.look = "xyz" => is damaged, or another file
images.0.look = "" => is damaged, or another file
del images.0.look => is damaged, or another file
""",
    RUN: """
seed = "zero" => is damaged, or another file
seconds = "long" => is damaged, or another file
seconds = null => ok
seconds = nan => not a JSON file
versions = [] => is damaged, or another file
versions = {"torch": 2} => is damaged, or another file
commit = 5 => is damaged, or another file
resumes = 1.5 => is damaged, or another file
more = {"a": [1]} => ok
""",
    SPLITS: """
alike = 3 => is damaged, or another file
alike = {"count": 1} => is damaged, or another file
alike = {"count": 1, "pairs": [{"validation": "a", "training": "b", "bits": 3}]} => ok it[0]["count"] == 1
""",
}


@pytest.mark.parametrize(
    ("name", "edits", "expected"),
    [
        pytest.param(name, *case.values, id=f"{name}: {case.id}")
        for name, text in EDITS.items()
        for case in table(text)
    ],
)
def test_an_edited_artifact(study, spoil, name, edits, expected):
    content = text_of(edited(json.loads(study.path(name).read_text()), edits)).encode()
    path = spoil(name, content)
    judge(expected, lambda: study.use(name), "" if expected.startswith("ok") else path.name)
