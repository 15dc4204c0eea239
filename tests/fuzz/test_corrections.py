"""What tools export: edits of sound answers to labels of three images."""

import json
import logging

import pytest

from distill.labels.corrections import corrected
from fuzz.harness import edited, judge, outcome, table
from helpers.answers import COCO, LABELS, TASKS

IN_COCO = """
# --- the file ---
images = 3 => a.json: not a COCO file
images = null => a.json: not a COCO file
images.0 = 3 => a.json: not a COCO file
images = [] => annotation 1 is of the image 11, which the file does not list
del images => neither COCO nor a list of Label Studio tasks
del annotations => neither COCO nor a list of Label Studio tasks
annotations = {} => a.json: not a COCO file
annotations = [] => ok len(it["annotations"]) == 0
annotations = []; images = [] => a.json: no image is corrected there
del categories.0.name => a.json: not a COCO file
categories = [] => annotation 1 is of the category 1, which the file lacks
categories.0.name = "hnad" => there is no category 'hnad' in the labels, only hand, face
categories.0.name = "" => there is no category '' in the labels
categories.0.name = null => a.json: not a COCO file
categories.1.id = 1 => two of its images, or of its categories, have one id
categories.0.keypoints = 3 => a.json: not a COCO file
categories.0.keypoints = ["tip"] => hand with 2 keypoints, of 1
categories.0.keypoints = ["tip", "end"] => hand has no keypoint 'end'
categories.0.keypoints = ["root", "tip"] => ok it["annotations"][0]["keypoints"] == [50, 50, 2, 30, 20, 2]
# --- images ---
del images.0.file_name => a.json: not a COCO file
images.0.file_name = 5 => a.json: not a COCO file
images.0.file_name = "9.png" => image '9.png' is none of the labels' images
images.0.file_name = "" => image '' is none of the labels' images
images.0.file_name = "2.png" => '2.png' is there twice; export it with folders
images.0.file_name = "/a/b/1.png" => ok len(it["annotations"]) == 2
images.0.file_name = "a\\\\1.png" => is none of the labels' images
images.1.id = 11 => two of its images, or of its categories, have one id
images.0.id = "11" => a.json: not a COCO file
images.0.id = 11.0 => ok len(it["annotations"]) == 2
images += {"id": 13, "file_name": "3.png"} => ok len(it["annotations"]) == 2
# --- annotations ---
annotations.0 = null => a.json: not a COCO file
annotations.0.image_id = 99 => annotation 1 is of the image 99, which the file does not list
del annotations.0.image_id => a.json: not a COCO file
annotations.0.image_id = null => a.json: not a COCO file
annotations.0.category_id = 9 => annotation 1 is of the category 9, which the file lacks
del annotations.0.category_id => a.json: not a COCO file
del annotations.0.bbox => annotation 1 on '1.png': hand without a box; of FiftyOne, export the detections
annotations.0.bbox = [1, 2, 3] => annotation 1 on '1.png': bbox [1, 2, 3] is not four finite numbers
annotations.0.bbox = [1, 2, 3, nan] => is not four finite numbers
annotations.0.bbox = ["1", 2, 3, 4] => is not four finite numbers
annotations.0.bbox = "box" => is not four finite numbers
annotations.0.bbox = [1, 2, 10**400, 4] => is not four finite numbers
annotations.1.bbox = [0, 0, 0, 90] => left boxes without area: 1
annotations.1.bbox = [0, 0, -5, 90] => left boxes without area: 1
annotations.1.bbox = [300, 0, 5, 9] => left boxes outside the image: 1
annotations.0.keypoints = [1, 2] => hand with 0.666667 keypoints, of 2
annotations.0.keypoints = null => hand with 0 keypoints, of 2
annotations.0.keypoints = "none" => hand with 'none' keypoints, of 2
annotations.0.keypoints.2 = 3 => keypoint 'tip' is [30, 20, 3], not x, y and 0, 1 or 2
annotations.0.keypoints.2 = "2" => keypoint 'tip' is [30, 20, '2'], not x, y and 0, 1 or 2
annotations.0.keypoints.0 = nan => keypoint 'tip' is [nan, 20, 2], not x, y and 0, 1 or 2
annotations.0.keypoints = [nan, nan, 0, 50, 50, 2] => ok it["annotations"][0]["keypoints"] == [0, 0, 0, 50, 50, 2]
annotations.0.iscrowd = 2 => a.json: not a COCO file
annotations.0.iscrowd = 1.0 => ok it["annotations"][0]["iscrowd"] == 1
annotations.0.attributes = null => ok
annotations.0.attributes = 3 => a.json: not a COCO file
annotations.0.attributes = {"instance": [1]} => ok
annotations.1.segmentation = [[0, 0, 90, 0, 90, 90, 0, 90]] => left nothing
annotations.1.segmentation = [[0, 0, 90, 0, 45, 90]] => left outlines, of which only the boxes are taken: 1 (first on 2.png)
annotations.1.segmentation = [[0, 0, 50, 0, 90, 90, 0, 90]] => left outlines, of which only the boxes are taken: 1
annotations.1.segmentation = {"counts": [1, 2], "size": [100, 200]} => left outlines, of which only the boxes are taken: 1
annotations.1.segmentation = "x" => left outlines, of which only the boxes are taken: 1
annotations.1.segmentation = [["a", "b"]] => left outlines, of which only the boxes are taken: 1
annotations += {"image_id": 11, "category_id": 2, "bbox": [1, 1, 5, 5]} => ok len(it["annotations"]) == 3
"""
IN_TASKS = """
# --- the file ---
0 = 3 => a.json: not Label Studio's tasks
0 = null => a.json: not Label Studio's tasks
0 = [] => a.json: not Label Studio's tasks
del 0.annotations => export JSON, not JSON-MIN
0.annotations = null => a.json: not Label Studio's tasks
0.annotations = []; 1.annotations = [] => a.json: no image is corrected there
0.annotations.0 = null => a.json: not Label Studio's tasks
del 0.annotations.0.result => a.json: not Label Studio's tasks
0.annotations.0.result = {} => a.json: not Label Studio's tasks
0.annotations.0.result = [] => ok [a["image_id"] for a in it["annotations"]] == [2]
0.annotations.0.result.0 = 3 => a.json: not Label Studio's tasks
0.annotations += {"result": []} => left answers to a task that has a later one: 1 (first on 1.png)
0.annotations.0.was_cancelled = "yes" => a.json: not Label Studio's tasks
del 0.data => a.json: not Label Studio's tasks
0.data = {} => a.json: task 1 does not name its image
0.data.file_name = null; 0.data.image = null => a.json: task 1 does not name its image
0.data.file_name = "9.png" => image '9.png' is none of the labels' images
0.data.file_name = "2.png" => '2.png' is there twice; export it with folders
0.data.file_name = ["1.png"] => a.json: not Label Studio's tasks
# --- boxes ---
del 0.annotations.0.result.0.value => '1.png': a region is not as Label Studio writes it
0.annotations.0.result.0.value = [1] => '1.png': a region is not as Label Studio writes it
0.annotations.0.result.0.value.x = "10" => '1.png': a region is not as Label Studio writes it
0.annotations.0.result.0.value.x = null => '1.png': a region of the type 'rectanglelabels' is not at finite numbers
del 0.annotations.0.result.0.value.width => is not at finite numbers
0.annotations.0.result.0.value.x = nan => is not at finite numbers
0.annotations.0.result.0.value.width = inf => is not at finite numbers
0.annotations.0.result.0.value.width = 0 => left boxes without area: 1 (first on 1.png); keypoints of deleted boxes: 2
0.annotations.0.result.0.value.x = 150 => left boxes outside the image: 1
0.annotations.0.result.0.value.rotation = 30 => left turns of boxes, which are those around them now: 1 (first on 1.png)
0.annotations.0.result.0.value.rotation = nan => is not at finite numbers
0.annotations.0.result.0.image_rotation = 90 => '1.png' has a turned image, which COCO cannot hold
del 0.annotations.0.result.0.value.rotation => ok len(it["annotations"]) == 2
0.annotations.0.result.0.value.rectanglelabels = ["hand", "face"] => left second labels: 1 (first on 1.png)
0.annotations.0.result.0.value.rectanglelabels = [] => left boxes without a label: 1 (first on 1.png)
0.annotations.0.result.0.value.rectanglelabels = [""] => left boxes without a label: 1
0.annotations.0.result.0.value.rectanglelabels = null => left boxes without a label: 1
0.annotations.0.result.0.value.rectanglelabels = "hand" => '1.png': a region is not as Label Studio writes it
0.annotations.0.result.0.value.rectanglelabels = ["foot"] => there is no category 'foot' in the labels
0.annotations.0.result.0.type = "rectangle" => left nothing
0.annotations.0.result.0.type = "polygonlabels" => left polygons: 1 (first on 1.png)
0.annotations.0.result.0.type = "polygon" => left polygons: 1
0.annotations.0.result.0.type = "ellipselabels" => left ellipses: 1
0.annotations.0.result.0.type = "brushlabels" => left brush strokes: 1
0.annotations.0.result.0.type = "choices" => left regions of the type 'choices': 1
0.annotations.0.result.0.type = "" => left regions of the type '': 1
del 0.annotations.0.result.0.type => left regions of the type '': 1
0.annotations.0.result.0.type = 3 => a.json: not Label Studio's tasks
0.annotations.0.result += {"type": "relation", "from_id": "b", "to_id": "p", "direction": "right"} => left relations: 1
0.annotations.0.result += {"type": "textarea", "value": {"text": ["a"]}} => left regions of the type 'textarea': 1
0.annotations.0.result += {**old[0]} => '1.png': two regions have the id 'b'
del 0.annotations.0.result.0.id => left keypoints of deleted boxes: 2
# --- keypoints ---
0.annotations.0.result.1.value.keypointlabels = [] => left keypoints without a label: 1
0.annotations.0.result.1.value.keypointlabels = ["tip", "root"] => left second labels: 1
0.annotations.0.result.1.value.keypointlabels = ["nail"] => left keypoints that their box's category has not: 1
0.annotations.0.result.1.value.keypointlabels = ["root"] => left keypoints that their box has already: 1
0.annotations.0.result.1.value.x = nan => a region of the type 'keypointlabels' is not at finite numbers
del 0.annotations.0.result.1.value.y => a region of the type 'keypointlabels' is not at finite numbers
0.annotations.0.result.1.parentID = "gone" => left keypoints of deleted boxes: 1
0.annotations.0.result.1.parentID = null => ok it["annotations"][0]["keypoints"][:3] == [30, 20, 2]
0.annotations.0.result.1.parentID = null; 0.annotations.0.result.1.value.x = 99 => left keypoints outside all boxes: 1
0.annotations.0.result.1.value.x = 99 => ok it["annotations"][0]["keypoints"][:3] == [198, 20, 2]
1.annotations.0.result += {"type": "keypointlabels", "parentID": "c", "value": {"x": 1, "y": 1, "keypointlabels": ["tip"]}} => left keypoints that their box's category has not: 1
"""


def taken(content, caplog):
    """The corrected labels, which must be a dataset; `left` is what the log says is not taken."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "distill"):
        result = corrected(LABELS, {"a.json": content})
    json.dumps(result, allow_nan=False)
    return result


def judge_answer(content, expected, caplog):
    if expected.startswith("left "):
        message, it = outcome(lambda: taken(content, caplog))
        assert message is None, message
        said = [record.getMessage() for record in caplog.records if "not taken" in record.getMessage()]
        if expected == "left nothing":
            assert not said
        else:
            assert f" {expected.removeprefix('left ')}" in said[0]
            assert it["annotations"] is not None
    else:
        judge(expected, lambda: taken(content, caplog))


@pytest.mark.parametrize(("edits", "expected"), table(IN_COCO))
def test_an_edited_coco_file(caplog, edits, expected):
    judge_answer(edited(COCO, edits), expected, caplog)


@pytest.mark.parametrize(("edits", "expected"), table(IN_TASKS))
def test_an_edited_export_of_label_studio(caplog, edits, expected):
    judge_answer(edited(TASKS, edits), expected, caplog)
