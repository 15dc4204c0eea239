"""Configurations: edits of a sound one, as `resolve` takes them; those of labels are in test_configured_labels.py."""

import pytest
import yaml

from distill.study.reruns import of_merge, of_training
from distill.study.resolve import resolve
from fuzz.harness import edited, judge, table
from helpers import ROOT
from helpers.configs import SOUND

EDITS = """
# --- the whole ---
datasets = null => datasets: must be mapping, not None
datasets = [] => datasets: must be mapping, not []
datasets = 3 => datasets: must be mapping, not 3
datasets = {} => datasets
del datasets => config: needs the key 'datasets'
modle = 3 => config: unknown key 'modle'; did you mean 'model'?
results = 3 => results: must be text, not 3
results = "" => results
results = null => results: must be text
shards = 2.0 => shards: must be integer, not 2.0
shards = 2.5 => shards: must be integer, not 2.5
shards = "2" => shards: must be integer, not '2'
shards = true => shards: must be integer, not True
shards = nan => shards: nan is no finite number
shards = inf => shards: inf is no finite number
shards = 0 => shards: 0 is less than the minimum of 1
shards = -1 => shards: -1 is less than the minimum of 1
shards = 10**9 => shards: 1000000000 is greater than the maximum of 10000
shards = [1] => shards: must be integer, not [1]
threads = 1.0 => threads: must be integer, not 1.0
unreadable = nan => unreadable: nan is no finite number
unreadable = -0.1 => unreadable
unreadable = 2 => unreadable
device = "gpu" => device: 'gpu' is not one of auto, cpu, cuda
device = null => device: None is not one of auto, cpu, cuda
device = ["cpu"] => device: ['cpu'] is not one of auto, cpu, cuda
predict_amp = "yes" => predict_amp: must be boolean, not 'yes'
predict_amp = 1 => predict_amp: must be boolean, not 1
keep_heatmaps = "some" => keep_heatmaps: 'some' is not allowed
keep_heatmaps = [0.0] => keep_heatmaps.0: must be integer, not 0.0
keep_heatmaps = [7] => keep_heatmaps: there is no shard 7; shards are 0 to 0
keep_heatmaps = [0] => ok
# --- seeds ---
seeds = [] => seeds
seeds = 3 => seeds: must be list, not 3
seeds = [0, 0] => seeds
seeds = [0.0] => seeds.0: must be integer, not 0.0
seeds = [-1] => seeds.0: -1 is less than the minimum of 0
seeds = [2**32] => seeds.0: 4294967296 is greater than the maximum of 4294967295
seeds = [2**32 - 1] => ok it["models"]["teacher"]["seed"] == 2**32 - 1
seeds = [2**32 - 1]; models.teacher.seed = 1 => models.teacher.seed: with those of `seeds` it is 4294967296
models.teacher.seed = 2**32 => models.teacher.seed: 4294967296 is greater than the maximum
models.teacher.seed = 10**400 => models.teacher.seed: a number of 401 digits is too large
models.teacher.seed = 1.0 => models.teacher.seed: must be integer, not 1.0
datasets.part.seed = 2**32 => datasets.part.seed: 4294967296 is greater than the maximum
datasets.part.seed = 2**32 - 1; seeds = [1] => datasets.part.seed: with those of `seeds` it is 4294967296
# --- datasets ---
datasets.labelled = null => datasets.labelled: must be mapping
datasets.labelled = "a.json" => datasets.labelled: must be mapping
datasets.labelled = {} => datasets.labelled: needs the key 'kind'
datasets.labelled.kind = "zip" => datasets.labelled.kind: 'zip' is not one of
datasets.labelled.kind = null => datasets.labelled.kind
datasets.labelled.kind = nan => datasets.labelled.kind: nan is no finite number
del datasets.labelled.annotations => datasets.labelled: needs the key 'annotations'
datasets.labelled.image = "a" => datasets.labelled: unknown key 'image'; did you mean 'images'?
datasets.labelled.images = 5 => datasets.labelled.images: must be text, not 5
datasets.labelled.images = ["a", "b"] => datasets.labelled.images: must be text
datasets.labelled.images = "a\\0b" => datasets.labelled.images: 'a\\x00b' is not a line of text
datasets.labelled.images = "a\\nb" => datasets.labelled.images: 'a\\nb' is not a line of text
datasets.labelled.images = "\\ud800" => datasets.labelled.images: '\\ud800' is not a line of text
datasets.labelled.images = "a\\u00a0b" => ok it["datasets"]["labelled"]["images"] == "a\\u00a0b"
datasets.labelled.strip_annotations = "yes" => datasets.labelled.strip_annotations: must be boolean
datasets.labelled.strip_annotations = true => models.teacher.labelled: the dataset 'labelled' has no annotations
datasets.labelled = {"kind": "folder", "images": "a"} => models.teacher.labelled: the dataset 'labelled' has no annotations
datasets.labelled = {"kind": "subset", "of": "unlabelled"} => models.teacher.labelled: the dataset 'labelled' has no annotations
datasets.labelled.unreadable = nan => datasets.labelled.unreadable: nan is no finite number
datasets.part.fraction = 0 => datasets.part.fraction: 0 is less than or equal to the minimum of 0
datasets.part.fraction = 1.5 => datasets.part.fraction
datasets.part.fraction = nan => datasets.part.fraction: nan is no finite number
datasets.part.fraction = "half" => datasets.part.fraction: must be number, not 'half'
datasets.part.fraction = true => datasets.part.fraction: must be number, not True
datasets.part.images = 5 => datasets.part: fraction and images exclude each other
del datasets.part.fraction; datasets.part.images = 5.0 => datasets.part.images: must be integer, not 5.0
del datasets.part.fraction; datasets.part.images = 0 => datasets.part.images: 0 is less than the minimum of 1
datasets.part.range = [0.5, 0.2] => datasets.part.range: [0.5, 0.2] is not [a, b] with a below b
datasets.part.range = [0.5, 0.5] => datasets.part.range: [0.5, 0.5] is not [a, b] with a below b
datasets.part.range = [0.5] => datasets.part.range
datasets.part.range = [0, nan] => datasets.part.range: nan is no finite number
datasets.part.range = "0-0.5" => datasets.part.range: must be list
datasets.part.of = "lbelled" => datasets.part: there is no dataset 'lbelled'; did you mean 'labelled'?
datasets.part.of = ["labelled"] => datasets.part.of: must be text
datasets.part.of = "part" => a cycle, each made from the next: datasets.part
datasets.part.exclude = "vall" => datasets.part: there is no dataset 'vall'; did you mean 'val'?
datasets.part.exclude = 3 => datasets.part.exclude: must be text or list
datasets.u = {"kind": "union", "of": []} => datasets.u.of
datasets.u = {"kind": "union", "of": "labelled"} => datasets.u.of: must be list
datasets.u = {"kind": "figures", "images": 2.0} => datasets.u.images: must be integer, not 2.0
datasets.u = {"kind": "figures", "images": 2, "size": [10, 10]} => datasets.u.size.0: 10 is less than the minimum of 64
datasets.u = {"kind": "yolo"} => datasets.u: needs the key 'annotations'
datasets.u = {"kind": "yolo", "annotations": "d.yaml", "split": "all"} => datasets.u.split: 'all' is not one of train, val, test
datasets.u = {"kind": "yolo", "annotations": "d.yaml", "images": "i"} => datasets.u: unknown key 'images'
datasets.u = {"kind": "voc", "annotations": "v", "split": "../x/y"} => datasets.u.split: '../x/y' is not allowed
datasets.u = {"kind": "voc", "annotations": "v", "split": "trainval"} => ok
datasets.u = {"kind": "videos", "videos": "v", "frames": 0} => datasets.u.frames: 0 is less than the minimum of 1
datasets.u = {"kind": "videos", "videos": "v", "frames": 2.0} => datasets.u.frames: must be integer, not 2.0
datasets.u = {"kind": "videos", "videos": "v", "at": "end"} => datasets.u.at: 'end' is not one of random, even
datasets.u = {"kind": "videos", "videos": 3} => datasets.u.videos: must be text, not 3
datasets = {**old, "a/b": old["val"]} => datasets: 'a/b' cannot be a name
datasets = {**old, "": old["val"]} => datasets: '' cannot be a name
datasets = {**old, 101: old["val"]} => datasets: the key 101 must be text; put it in quotes
datasets = {**old, nan: old["val"]} => datasets: the key nan must be text; put it in quotes
datasets = {**old, null: old["val"]} => datasets: the key None must be text; put it in quotes
datasets = {**old, "x" * 300: old["val"]} => ok
# --- models ---
model = null => model: must be text or mapping
model = 3 => model: must be text or mapping
model = "keypoint_rcnn_tinny" => there is no model config 'keypoint_rcnn_tinny'; did you mean 'keypoint_rcnn_tiny'?
model.config = "../x" => there is no model config '../x'
model.lr = nan => model.lr: nan is no finite number
model.lr = 0 => model.lr: 0 is less than or equal to the minimum of 0
model.lr = -1 => model.lr
model.lr = "0.1" => model.lr: '0.1' is not allowed; Learning rate
models = {} => models
models = [] => models: must be mapping, not []
models.teacher = null => models.teacher: must be mapping
models.teacher.iterations = 20.0 => models.teacher.iterations: must be integer or text, not 20.0
models.teacher.iterations = "many" => models.teacher.iterations: 'many' is not allowed
models.teacher.iterations = "1e3" => models.teacher.iterations: YAML takes 1e3 for text; write 1000
models.teacher.iterations = 0 => models.teacher.iterations: 0 is less than the minimum of 1
models.teacher.iterations = inf => models.teacher.iterations: inf is no finite number
models.teacher.iterations = true => models.teacher.iterations: must be integer or text, not True
models.teacher.iterations = "auto" => ok it["models"]["teacher"]["iterations"] == "auto"
models.teacher.batch = 2.0 => models.teacher.batch: must be integer, not 2.0
models.teacher.gpus = 3; models.teacher.batch = 4 => models.teacher.batch: 4 is not a multiple of its 3 GPUs
models.teacher.gpus = 3; models.teacher.batch = 4; device = "cpu" => ok
models.teacher.gpus = 2; models.teacher.nodes = 2; models.teacher.batch = 8 => ok
models.teacher.ratio = [6, 4] => models.teacher.ratio: is for students; without `labels` no image is generated
models.student.weight = "score"; merge.score = "quasi_sum" => models.student.weight: score: the scores of its labels are sums
models.student.weight = "score" => ok
models.teacher.background = "ignore" => models.teacher.background: is for students
model.ratio = [1, 1] => ok it["models"]["student"]["ratio"] == [1, 1]
models.student.ratio = [6, 0] => models.student.ratio.1: 0 is less than or equal to the minimum of 0
models.student.ratio = [6] => models.student.ratio
models.student.ratio = [6, nan] => models.student.ratio: nan is no finite number
models.student.ratio = "6:4" => models.student.ratio: must be list, not '6:4'
models.teacher.scales = [] => models.teacher.scales
models.teacher.scales = [640.0] => models.teacher.scales.0: must be integer, not 640.0
models.teacher.scales = 640 => models.teacher.scales: must be list, not 640
models.teacher.scales = [300, 420] => models.teacher.scales: 420 is more than max_side, 300; raise that, too
models.teacher.max_side = nan => models.teacher.max_side: nan is no finite number
models.teacher.milestones = [0.5, 1] => models.teacher.milestones.1
models.teacher.milestones = [nan] => models.teacher.milestones: nan is no finite number
models.teacher.warmup = -1 => models.teacher.warmup: -1 is less than the minimum of 0
models.teacher.init = "" => models.teacher.init
models.teacher.init = 5 => models.teacher.init: must be text or mapping, not 5
models.teacher.init = {"format": "torchvision", "checkpoint": "a.pth"} => ok it["models"]["teacher"]["init"]["checkpoint"] == "a.pth"
models.teacher.init = {"format": "torchvision"} => models.teacher.init: needs the key 'checkpoint'
models.teacher.init = {"format": "torch", "checkpoint": "a.pth"} => models.teacher.init.format: 'torch' is not one of
models.teacher.init = {"format": "mmdet", "checkpoint": "a.pth", "file": "b"} => models.teacher.init: unknown key 'file'
models.teacher.init = "techer" => models.teacher.init: there is no model 'techer'; did you mean 'teacher'?
models.teacher.init = "teacher" => a cycle, each made from the next: models.teacher
models.teacher.init = false => models.teacher.init: must be text or mapping, not False
models.teacher.labelled = "unlabelled" => models.teacher.labelled: the dataset 'unlabelled' has no annotations
models.teacher.labelled = [["labelled"]] => models.teacher.labelled.0: must be text
models.student.labels = "unlabelled" => models.student.labels: the dataset 'unlabelled' has no annotations
models.student.labels = "part" => ok it["models"]["student"]["labels"] == "part"
models.student.labels = 3 => models.student.labels: must be text, not 3
models.student.labels = null => models.student.labels: must be text, not None
models.student.background = "none" => models.student.background: 'none' is not one of sample, ignore
models.teacher.augment = "mosaic" => models.teacher.augment: 'mosaic' is not allowed
models.teacher.augment = {"labelled": {"mosaic": 1.01}} => models.teacher.augment.labelled.mosaic: 1.01 is greater than the maximum of 1
models.teacher.augment = {"labelled": {"mixup": -0.1}} => models.teacher.augment.labelled.mixup: -0.1 is less than the minimum of 0
models.teacher.augment = {"labelled": {"mixup": nan}} => models.teacher.augment.labelled.mixup: nan is no finite number
models.teacher.augment = {"labelled": {"mosaic": true}} => models.teacher.augment.labelled.mosaic: must be number, not True
models.teacher.augment = {"labelled": {"mix": 1}} => models.teacher.augment.labelled: unknown key 'mix'
models.teacher.augment = {"labelled": {"mosaic": 0}} => ok
models.student.augment = {"generated": {"mosaic": 1, "mixup": 1}} => ok it["models"]["student"]["augment"]["generated"]["mosaic"] == 1
models.teacher.amp = 1 => models.teacher.amp: must be boolean
models.teacher.checkpoint_every = 0 => models.teacher.checkpoint_every
models.teacher.tracking = "tensorboard" => models.teacher.tracking
models.teacher.tracking = ["comet"] => models.teacher.tracking
models.teacher.import = {"format": "onnx", "checkpoint": "x"} => models.teacher.import.format: 'onnx' is not one of
models.teacher = {"import": {"format": "mmdet"}} => models.teacher.import: needs the key 'checkpoint'
models.teacher = {"import": {"format": "mmdet", "checkpoint": ""}} => models.teacher.import.checkpoint
models.teacher = {"import": {"format": "mmdet", "checkpoint": "x", "categories": []}} => models.teacher.import.categories
models.teacher = {"import": {"format": "mmdet", "checkpoint": "x"}, "lr": 1} => an imported model is not trained; remove lr
# --- evaluate, tables ---
evaluate.on = "unlabelled" => evaluate.on: the dataset 'unlabelled' has no annotations
evaluate.on = "vall" => evaluate.on: there is no dataset 'vall'; did you mean 'val'?
evaluate.on = ["val"] => evaluate.on: must be text or mapping
evaluate.on = {"boxes": "val"} => evaluate.on: says nothing of keypoints
evaluate.on = {"pose": "val"} => evaluate.on: unknown key 'pose'
evaluate.views = [] => evaluate.views
evaluate.views = ["pain"] => evaluate.views: there is no view set 'pain'; did you mean 'plain'?
evaluate.metrics = ["AP"] => evaluate: unknown key 'metrics'
tables = [] => tables: must be mapping, not []
tables.t = {} => tables.t: needs the key 'rows'
tables.t.rows = [] => tables.t.rows
tables.t.rows = [3] => tables.t.rows.0: must be text or mapping, not 3
tables.t.rows = ["studnet"] => tables.t.rows: there is no model 'studnet'; did you mean 'student'?
tables.t.rows = ["teacher", "teacher"] => tables.t.rows: two rows are called 'teacher'
tables.t.rows = [{"model": "teacher", "name": "a\\nb"}] => 'a\\nb' is not a line of text
tables.t.rows = [{"model": "teacher", "x": nan}] => nan is no finite number
tables.t.rows = [{"model": "teacher", "x": "student"}] => tables.t.rows: x of teacher: there is no row 'student'
tables.t.metrics = ["mAP"] => 'mAP' is not one of AP, AP50
tables.t.metrics = ["APS"] => tables.t.metrics: APS is not measured of keypoints
tables.t.metrics = ["AR100"] => tables.t.metrics: AR100 is not measured of keypoints
tables.t.metrics = ["AR", "AP"] => ok it["tables"]["t"]["metrics"] == ["AR", "AP"]
tables.t.metrics = [] => tables.t.metrics
tables.t.reference = {"teacher": nan} => tables.t.reference.teacher: nan is no finite number
tables.t.reference = {"teacher": "54.9"} => tables.t.reference.teacher: must be number or mapping
tables.t.reference = {"teacher": {"mAP": 1}} => tables.t.reference.teacher: mAP is no column
tables.t.reference = {"teacher": {"box AP": 1}} => ok
tables.t.metrics = ["AP50"]; tables.t.reference = {"teacher": 3} => tables.t.reference.teacher: AP is no column
tables.t.gains = {"student": {"over": "upper"}} => tables.t.gains.student.over: there is no row 'upper'
tables.t.gains = {"student": {}} => tables.t.gains.student: needs the key 'over'
tables.t.gap = {"baseline": "teacher", "student": "student"} => tables.t.gap: needs the key 'upper'
tables.t.plot = {"x": "size"} => tables.t.plot: no row has an x
tables.t.plot = {"y": "size"} => tables.t.plot
downloads = {"a": {"url": "file:///etc/passwd", "md5": "x", "contents": ["a"]}} => downloads.a
"""
CASES = table(EDITS)


@pytest.mark.parametrize(("edits", "expected"), CASES)
def test_an_edited_configuration(edits, expected):
    config = edited(yaml.safe_load(SOUND), edits)
    judge(expected, lambda: resolve(config, ROOT))


def test_the_sound_one():
    judge("ok", lambda: resolve(yaml.safe_load(SOUND), ROOT))


def test_what_decides_reruns_is_the_same_for_whole_numbers_only():
    """2.0 is refused where 2 is meant, and where a number is meant they are two spellings of one value."""
    whole, point = (
        resolve(edited(yaml.safe_load(SOUND), f"calibrate.instances = {n}"), ROOT) for n in ("2", "2.0")
    )
    assert whole["labels"]["distilled"]["calibrate"] == point["labels"]["distilled"]["calibrate"]
    assert of_merge(whole["merged"]["all"]["options"], "boxes", ROOT) == {}
    assert of_training(whole["models"]["teacher"], ROOT, {}) == of_training(
        point["models"]["teacher"], ROOT, {}
    )
