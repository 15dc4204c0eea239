"""Annotation files: edits of a sound one."""

import pytest

from fuzz.harness import edited, judge, table, text_of
from helpers.annotated import made

# Four images of 40x30, 0.png …, ids 1 …; in each one hand, ids 1 …: bbox 4 5 10 12, keypoints tip (10, 10) visible,
# left_joint (5, 6) hidden, right_joint not labelled.
EDITS = """
# --- images ---
images = 3 => needs an object with a list "images"
images = {} => needs an object with a list "images"
images = [] => there are no images
images.1 = 5 => image 5 is not an object
images.1 = [1] => image [1] is not an object
images.1 = null => image None is not an object
del images.1.id => image without an id
del images.1.file_name => image 2 has no file_name
del images.1.width => image 2 has no width
del images.1.width; del images.1.height => image 2 has no width, height
images.1.id = null => image id None is not a whole number
images.1.id = -1 => image id -1 is not a whole number
images.1.id = 1 => image id 1 is there twice
images.1.id = 2.0 => ok [i["id"] for i in it["images"]] == [1, 2, 3, 4] and type(it["images"][1]["id"]) is int
images.1.id = 2.5 => image id 2.5 is not a whole number
images.1.id = "2" => image id '2' is not a whole number
images.1.id = true => image id True is not a whole number
images.1.id = [2] => image id [2] is not a whole number
images.1.id = {} => image id {} is not a whole number
images.1.id = nan => image id nan is not a whole number
images.1.id = inf => image id inf is not a whole number
images.1.id = 10**400 => is not a whole number
images.1.id = 2**63 => is not a whole number
images.1.id = 2**63 - 1; annotations.1.image_id = 2**63 - 1 => ok it["images"][-1]["id"] == 2**63 - 1
images.1.width = 40.0 => ok it["images"][1]["width"] == 40 and type(it["images"][1]["width"]) is int
images.*.width = 40.0; images.*.height = 30.0; images.*.id = float(old) => ok len(it["images"]) == 4
images.1.width = 40.5 => width 40.5 is not a positive whole number
images.1.width = "40" => width '40' is not a positive whole number
images.1.width = 0 => width 0 is not a positive whole number
images.1.width = -40 => width -40 is not a positive whole number
images.1.width = nan => width nan is not a positive whole number
images.1.width = true => width True is not a positive whole number
images.1.width = [40] => width [40] is not a positive whole number
images.1.width = 10**400 => is not a positive whole number
images.1.width = 1e300 => is not a positive whole number
images.1.width = 41 => image 2, 1.png, is 40x30 pixels, annotated as 41x30
images.1.width = 30; images.1.height = 40 => image 2, 1.png, is 40x30 pixels, annotated as 30x40
images.1.width = 4; images.1.height = 3 => image 2, 1.png, is 40x30 pixels, annotated as 4x3; its boxes do not fit
images.*.width = 12; images.*.height = 15 => is 40x30 pixels, annotated as 12x15; its boxes do not fit
images.1.file_name = null => image 2 has no file_name
images.1.file_name = "" => file_name '' is not a file name
images.1.file_name = 5 => file_name 5 is not a file name
images.1.file_name = ["1.png"] => is not a file name
images.1.file_name = "a\\nb.png" => is not a file name
images.1.file_name = "a\\0b.png" => is not a file name
images.1.file_name = "\\ud800.png" => half of a character
images.1.file_name = "../1.png" => leaves the image folder
images.1.file_name = "x/../../1.png" => leaves the image folder
images.1.file_name = "/1.png" => leaves the image folder
images.1.file_name = "./1.png" => ok it["images"][1]["file_name"] == "1.png"
images.1.file_name = "0.png" => images 1 and 2 are the same file '0.png'
images.1.file_name = "./0.png" => images 1 and 2 are the same file '0.png'
images.1.file_name = "nowhere.png" => image 2, nowhere.png, no such file
images.1.file_name = "no\\u00a0break.png" => image 2, no\u00a0break.png, no such file
images.1.file_name = "." => image 2, ., is not a file
images.1.file_name = "1.PNG" => image 2, 1.PNG, no such file
images.1.file_name = "x" * 5000 => is not a file name
images.1.license = nan => ok
images.1.coco_url = {"a": [1]} => ok set(it["images"][1]) == {"id", "file_name", "width", "height", "hash"}
images += {"id": 5, "file_name": "0.png", "width": 40, "height": 30} => images 1 and 5 are the same file
# --- annotations ---
annotations = 3 => "annotations" is not a list
annotations = {} => "annotations" is not a list
annotations = null => "annotations" is not a list
annotations = [] => ok it["annotations"] == [] and [c["name"] for c in it["categories"]] == ["hand"]
annotations = []; categories = [] => ok it["annotations"] == it["categories"] == []
annotations = []; categories.0.name = 5 => category 1 has no name
del annotations => ok it["annotations"] == it["categories"] == []
annotations.1 = 5 => annotation 5 is not an object
annotations.1 = [] => annotation [] is not an object
del annotations.1.id => annotation without an id
annotations.1.id = null => annotation id None is not a whole number
annotations.1.id = 2.0 => ok [a["id"] for a in it["annotations"]] == [1, 2, 3, 4]
annotations.1.id = 1 => annotation id 1 is there twice
annotations.1.id = 1.0 => annotation id 1 is there twice
annotations.1.id = "2" => annotation id '2' is not a whole number
annotations.1.id = 0 => ok [a["id"] for a in it["annotations"]] == [1, 2, 4, 5]
annotations.1.id = 10**400 => is not a whole number
del annotations.1.image_id => annotation 2 has no image_id
annotations.1.image_id = 9 => annotation 2 is of the unknown image 9
annotations.1.image_id = 2.0 => ok it["annotations"][1]["image_id"] == 2
annotations.1.image_id = "2" => annotation 2 is of the unknown image '2'
annotations.1.image_id = true => annotation 2 is of the unknown image True
annotations.1.image_id = [2] => annotation 2 is of the unknown image [2]
annotations.1.image_id = nan => annotation 2 is of the unknown image nan
del annotations.1.category_id => annotation 2 has no category_id
annotations.1.category_id = 2 => annotation 2 is of the unknown category 2
annotations.1.category_id = 1.0 => ok it["annotations"][1]["category_id"] == 1
annotations.1.category_id = "hand" => annotation 2 is of the unknown category 'hand'
annotations.1.category_id = {} => annotation 2 is of the unknown category {}
del annotations.1.bbox => annotation 2 has no bbox
annotations.1.bbox = null => annotation 2 has no bbox
annotations.1.bbox = [] => is not four finite numbers
annotations.1.bbox = [1, 2, 3] => is not four finite numbers
annotations.1.bbox = [1, 2, 3, 4, 5] => is not four finite numbers
annotations.1.bbox = ["1", "2", "3", "4"] => is not four finite numbers
annotations.1.bbox = "4 5 10 12" => is not four finite numbers
annotations.1.bbox = {"x": 1} => is not four finite numbers
annotations.1.bbox = [[1, 2], [3, 4]] => is not four finite numbers
annotations.1.bbox = [true, 5, 10, 12] => is not four finite numbers
annotations.1.bbox = [null, 5, 10, 12] => is not four finite numbers
annotations.1.bbox.0 = nan => is not four finite numbers
annotations.1.bbox.2 = inf => is not four finite numbers
annotations.1.bbox.2 = 10**400 => is not four finite numbers
annotations.1.bbox.2 = 1e308 => is not four finite numbers
annotations.1.bbox = [14, 17, -10, -12] => has a negative size
annotations.1.bbox.2 = 0 => 1 instances with keypoints, but a box without area: give them boxes
annotations.1.bbox.2 = 0; annotations.1.keypoints = null => ok it["info"]["repaired"] == {"boxes without area left out": 1}
annotations.1.bbox = [50, 5, 10, 12] => lies outside the image of 40x30 pixels
annotations.1.bbox = [-20, 5, 10, 12] => lies outside the image of 40x30 pixels
annotations.1.bbox = [4, 5, 10, 40] => ok it["annotations"][1]["bbox"] == [4, 5, 10, 25] and it["info"]["repaired"]
annotations.1.bbox = [4, 5, 36.0005, 25] => ok it["annotations"][1]["bbox"] == [4, 5, 36.0005, 25]
annotations.1.bbox = [-0.0, 5, 10, 12] => ok it["annotations"][1]["bbox"][0] == 0
annotations.1.area = -1 => area -1 is not a number ≥ 0
annotations.1.area = nan => area nan is not a number ≥ 0
annotations.1.area = "60" => area '60' is not a number ≥ 0
annotations.1.area = [60] => area [60] is not a number ≥ 0
annotations.1.area = 10**400 => is not a number ≥ 0
annotations.1.area = 181 => ok it["annotations"][1]["area"] == 120 and it["info"]["repaired"] == {"areas larger than their box replaced by it": 1}
annotations.1.area = 180 => ok it["annotations"][1]["area"] == 180
annotations.1.area = null => ok it["annotations"][1]["area"] == 120
annotations.1.iscrowd = 2 => iscrowd 2 is neither 0 nor 1
annotations.1.iscrowd = "1" => iscrowd '1' is neither 0 nor 1
annotations.1.iscrowd = [] => iscrowd [] is neither 0 nor 1
annotations.1.iscrowd = {} => iscrowd {} is neither 0 nor 1
annotations.1.iscrowd = "" => iscrowd '' is neither 0 nor 1
annotations.1.iscrowd = nan => iscrowd nan is neither 0 nor 1
annotations.1.iscrowd = 1.0 => ok it["annotations"][1]["iscrowd"] == 1
annotations.1.iscrowd = null => ok it["annotations"][1]["iscrowd"] == 0
annotations.1.iscrowd = true => ok it["annotations"][1]["iscrowd"] == 1
annotations.1.score = nan => ok
annotations.1.segmentation = [[nan]] => ok "segmentation" not in it["annotations"][1]
annotations.1.attributes = {"occluded": true} => ok
# --- keypoints ---
annotations.1.keypoints = [1, 2, 2] => keypoints has length 3, 3 keypoints need 9
annotations.1.keypoints = "10 10 2" => keypoints has length '10 10 2', 3 keypoints need 9
annotations.1.keypoints = {} => keypoints has length {}, 3 keypoints need 9
annotations.1.keypoints = [[10, 10, 2], [5, 6, 1], [0, 0, 0]] => keypoints has length 3, 3 keypoints need 9
annotations.1.keypoints = null => ok it["annotations"][1]["keypoints"] == [0] * 9
annotations.1.keypoints = [] => ok it["annotations"][1]["num_keypoints"] == 0
del annotations.1.keypoints => ok it["annotations"][1]["num_keypoints"] == 0
annotations.1.keypoints.0 = nan => keypoint 0 is not at finite numbers
annotations.1.keypoints.0 = "10" => keypoint 0 is not at finite numbers
annotations.1.keypoints.0 = null => keypoint 0 is not at finite numbers
annotations.1.keypoints.0 = 10**400 => keypoint 0 is not at finite numbers
annotations.1.keypoints.6 = nan; annotations.1.keypoints.7 = nan => ok it["annotations"][1]["keypoints"][6:] == [0, 0, 0]
annotations.1.keypoints.6 = null; annotations.1.keypoints.7 = null => ok it["annotations"][1]["keypoints"][6:] == [0, 0, 0]
annotations.1.keypoints.2 = 3 => keypoint 0 has visibility 3, not 0, 1 or 2
annotations.1.keypoints.2 = 0.9 => keypoint 0 has visibility 0.9, not 0, 1 or 2
annotations.1.keypoints.2 = "2" => keypoint 0 has visibility '2', not 0, 1 or 2
annotations.1.keypoints.2 = true => keypoint 0 has visibility True, not 0, 1 or 2
annotations.1.keypoints.2 = nan => keypoint 0 has visibility nan, not 0, 1 or 2
annotations.1.keypoints.2 = null => keypoint 0 has visibility None, not 0, 1 or 2
annotations.1.keypoints.2 = [2] => keypoint 0 has visibility [2], not 0, 1 or 2
annotations.1.keypoints.2 = 2.0 => ok it["annotations"][1]["keypoints"] == [10, 10, 2, 5, 6, 1, 0, 0, 0]
annotations.1.keypoints.0 = 41 => ok it["annotations"][1]["keypoints"][:3] == [0, 0, 0] and it["info"]["repaired"]
annotations.1.num_keypoints = 17 => ok it["annotations"][1]["num_keypoints"] == 2
annotations.1.num_keypoints = "two" => ok it["info"]["repaired"] == {"counts of keypoints corrected": 1}
# --- other conventions: seen only in all of a file ---
annotations.*.bbox = [old[0] / 40, old[1] / 30, old[2] / 40, old[3] / 30] => 4 of 4 boxes lie within one pixel: they look like fractions
annotations.*.bbox = [0.3, 0.4, 0.25, 0.4] => 4 of 4 boxes lie within one pixel: they look like fractions
annotations.*.bbox = [0.3, 0.4, 0.25, 0.4]; annotations.0.bbox = [4, 5, 10, 12] => 3 of 4 boxes lie within one pixel
annotations.0.bbox = [0.3, 0.4, 0.25, 0.4]; annotations.*.keypoints = null => ok
annotations.*.bbox = [32, 15, 54, 28] => are they of images of another size?
annotations.0.bbox = [-6, -2, 20, 12]; annotations.1.bbox = [-6, 2, 20, 12] => ok it["info"]["repaired"]["boxes over the image's edge clipped"] == 2
annotations.*.bbox = [22, 15, 34, 28] => they look like x1, y1, x2, y2
annotations.*.bbox = [22, 5, 34, 17]; annotations.0.bbox = [4, 5, 14, 17] => they look like x1, y1, x2, y2
annotations.*.bbox = [22, 5, 20, 4]; annotations.0.bbox = [4, 5, 10, 12] => 3 of 4 boxes reach over the image's edge
annotations.*.bbox = [22, 5, 18.9, 4]; annotations.*.keypoints = null => ok it["info"]["repaired"]["boxes over the image's edge clipped"] == 4
annotations.*.keypoints = [-1, -1, 2, 5, 6, 1, 0, 0, 0] => ok it["info"]["repaired"]["keypoints outside the image taken as unlabelled"] == 4
annotations.*.keypoints = [-3, -1, 2, 5, 6, 1, 6, 6, 2] => ok it["info"]["repaired"]["keypoints outside the image taken as unlabelled"] == 4
annotations.*.keypoints = [0.25, 0.33, 2, 0.12, 0.2, 1, 0, 0, 0] => 8 of 8 keypoints lie within one pixel: they look like fractions
annotations.*.keypoints = [0, 0, 2, 1, 1, 1, 0, 0, 0] => 4 of 4 keypoints lie within one pixel: they look like fractions
annotations.*.bbox = [24, 15, 10, 12]; annotations.*.keypoints = [6, 5, 2, 1, 2, 2, 0, 0, 0] => they look relative to it
annotations.*.bbox = [24, 15, 10, 12]; annotations.*.keypoints = [20, 5, 2, 1, 2, 2, 0, 0, 0] => are they relative to it?
annotations.0.bbox = [24, 15, 10, 12] => ok it["annotations"][0]["num_keypoints"] == 2
# --- categories ---
categories = 3 => "categories" is not a list
categories = null => "categories" is not a list
categories = [] => there are annotations but no categories
del categories => there are annotations but no categories
categories.0 = 3 => category 3 is not an object
categories.0 = "hand" => category 'hand' is not an object
del categories.0.id => category without an id
categories.0.id = "1" => category id '1' is not a whole number
categories.0.id = 1.0 => ok it["categories"][0]["id"] == 1 and type(it["categories"][0]["id"]) is int
categories.0.id = 2 => annotation 1 is of the unknown category 1
del categories.0.name => category 1 has no name
categories.0.name = "" => category 1 has no name
categories.0.name = 5 => category 1 has no name
categories.0.name = "a\\nb" => the name 'a\\nb' is not a line of text
categories.0.name = "\\ud800" => half of a character
categories.0.name = "Hand (links) <b>&amp;{{$X:1}} 100 % $" => ok it["categories"][0]["name"].startswith("Hand (")
categories.0.supercategory = nan => supercategory is not text
categories.0.supercategory = ["a"] => supercategory is not text
categories.0.supercategory = null => ok
categories += {"id": 1, "name": "b"} => category id 1 is there twice
categories += {"id": 2, "name": "hand"} => 2 categories are called 'hand'
categories += {"id": 2, "name": "face"} => ok [c["name"] for c in it["categories"]] == ["hand", "face"]
categories.0.keypoints = 3 => keypoints is not a list of names
categories.0.keypoints = "tip" => keypoints is not a list of names
categories.0.keypoints = {"tip": 1} => keypoints is not a list of names
categories.0.keypoints = ["tip", "", "b"] => keypoints is not a list of names
categories.0.keypoints = ["tip", 2, "b"] => keypoints is not a list of names
categories.0.keypoints = ["tip", "a\\nb", "b"] => keypoints is not a list of names
categories.0.keypoints = ["tip", "tip", "b"] => keypoint 'tip' is named twice
categories.0.keypoints = [] => has keypoints, but its category 'hand' does not name any
categories.0.keypoints = ["a", "b"] => skeleton is not a list of pairs of keypoints counted from 1 to 2
categories.0.skeleton = null => ok it["categories"][0]["skeleton"] == []
categories.0.skeleton = [[0, 1]] => skeleton is not a list of pairs
categories.0.skeleton = [[1, 4]] => skeleton is not a list of pairs
categories.0.skeleton = [[1, 1]] => skeleton is not a list of pairs
categories.0.skeleton = [1, 2] => skeleton is not a list of pairs
categories.0.skeleton = {"a": 1} => skeleton is not a list of pairs
categories.0.skeleton = "1-2" => skeleton is not a list of pairs
categories.0.skeleton = [["tip", "left_joint"]] => skeleton is not a list of pairs
categories.0.flip_pairs = [[1, 2]] => ok it["categories"][0]["flip_pairs"] == [[1, 2]]
categories.0.flip_pairs = [[2, 1]] => ok it["categories"][0]["flip_pairs"] == [[1, 2]]
categories.0.flip_pairs = null => ok it["categories"][0]["flip_pairs"] == [[1, 2]]
categories.0.flip_pairs = [] => ok it["categories"][0]["flip_pairs"] == []
categories.0.flip_pairs = [[2, 3]] => flip_pairs is not a list of disjoint pairs
categories.0.flip_pairs = [[0, 1]] => flip_pairs has 'tip' and 'left_joint' change places in a mirror
categories.0.flip_pairs = [[0, 2]] => by their names they do not (flip_pairs counts from 0, skeleton from 1)
categories.0.flip_pairs = [[1, 2], [2, 1]] => flip_pairs is not a list of disjoint pairs
categories.0.flip_pairs = [["left_joint", "right_joint"]] => flip_pairs is not a list of disjoint pairs
categories.0.flip_pairs = {"1": 2} => flip_pairs is not a list of disjoint pairs
categories.0.flip_pairs = [[1.5, 2]] => flip_pairs is not a list of disjoint pairs
categories.0.keypoints = ["tip", "p", "q"]; categories.0.flip_pairs = [[0, 1]] => ok it["categories"][0]["flip_pairs"] == [[0, 1]]
categories.0.sigmas = [0.1] => sigmas is not a list of 3 positive numbers
categories.0.sigmas = [0.1, 0.1, 0] => sigmas is not a list of 3 positive numbers
categories.0.sigmas = [0.1, 0.1, nan] => sigmas is not a list of 3 positive numbers
categories.0.sigmas = 0.1 => sigmas is not a list of 3 positive numbers
categories += {"id": 2, "name": "b", "keypoints": ["p"]} => categories 'hand' and 'b' disagree on keypoints
# --- the rest ---
info = nan => ok
licenses = [1] => ok set(it) == {"info", "images", "annotations", "categories"}
"""


@pytest.mark.parametrize(("edits", "expected"), table(EDITS))
def test_an_edited_file(sound, edits, expected):
    judge(expected, made(sound, text_of(edited(sound.data, edits))))
