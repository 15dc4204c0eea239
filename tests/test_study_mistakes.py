"""Mistakes in a configuration are refused in one clear line."""

import pytest

from distill.program import UserError
from helpers.configs import SMALLEST, study_of

REFUSED = """
modle: faster_rcnn_tiny
=> config: unknown key 'modle'; did you mean 'model'?

candidates: {per_image: 5}
=> config: the key 'candidates' is now called 'fixed_boxes'

model: {config: faster_rcnn_tiny, iteration: 3}
=> model: unknown key 'iteration'; did you mean 'iterations'?

model: faster_rcnn_tyny
=> models.teacher.config: there is no model config 'faster_rcnn_tyny'; did you mean 'faster_rcnn_tiny'?

models: {teacher: {labelled: lbelled}}
=> models.teacher.labelled: there is no dataset 'lbelled'; did you mean 'labelled'?

models: {teacher: {}, s: {labels: destilled}}
=> models.s.labels: there is no label set 'destilled'; did you mean 'distilled'?

models: {Teacher: {}, s: {labels: distilled}}
=> models.s.labels: 'distilled' is made of the model 'teacher', and there is none; did you mean 'Teacher'?

models: {teacher: {}, s: {labels: unlabelled}}
=> models.s.labels: the dataset 'unlabelled' has no annotations

models: {teacher: {init: techer}}
=> models.teacher.init: there is no model 'techer'; did you mean 'teacher'?

labels: {distilled: {views: al}}
=> labels.distilled.views: there is no view set 'al'; did you mean 'all'?

evaluate: {on: vall}
=> evaluate.on: there is no dataset 'vall'; did you mean 'val'?

evaluate: {on: {keypoints: val}}
=> evaluate.on: says nothing of boxes, which teacher predicts

tables: {t: {rows: [studnet]}}
=> tables.t.rows: there is no model 'studnet'; did you mean 'student'?

tables: {t: {rows: [student], reference: {stud: 1}}}
=> tables.t.reference: there is no row 'stud'; did you mean 'student'?

tables: {t: {rows: [student], gains: {student: {over: teacher}}}}
=> tables.t.gains.student.over: there is no row 'teacher'; there is student

tables: {t: {rows: [{model: student, x: teacher}]}}
=> tables.t.rows: x of student: there is no row 'teacher'; there is student

tables: {t: {rows: [student], plot: {x: amount}}}
=> tables.t.plot: no row has an x

tables: {t: {rows: [{model: student, x: 1}], metrics: [AP50], plot: {x: amount}}}
=> tables.t.plot: is of AP, which is not among the metrics; add it

model: {config: faster_rcnn_tiny, lr: 1e-3}
=> model.lr: YAML takes 1e-3 for text; write 0.001

downloads: {a: {url: "https://b/c.zip", md5: 0123456789abcdef0123456789abcdef, size: 1, contents: [/x]}}
=> downloads.a.contents.0: '/x' is not allowed; A path below `data`, not from the root

downloads: {a: {url: "https://b/c.zip", md5: 0123456789abcdef0123456789abcdef, size: 1, contents: [x/../y]}}
=> downloads.a.contents.0: 'x/../y' is not allowed; A path below `data`, not from the root

results: "a, b"
=> results: 'a, b' has ', ', at which lists of files are split; rename it

models: {a: {labels: x}}
labels: {x: {teacher: a}}
=> a cycle, each made from the next: labels.x → models.a → labels.x

models: {a: {}, a-seed1: {repeat: false}}
labels: {}
seeds: [0, 1]
=> models: 'a-seed1' is also the name that another one gets for a seed or fold; rename one

models: {none: {}, a: {init: none}}
labels: {}
=> models.none: means another start of a training; choose another name

models: {a: {init: b}, b: {init: a}}
=> a cycle, each made from the next: models.a → models.b → models.a

labels: {distilled: {teacher: [teacher, techer]}}
=> labels.distilled.teacher: there is no model 'techer'; did you mean 'teacher'?

models: {teacher: {}, large: {config: faster_rcnn_r50_fpn, labels: distilled}}
=> views: teacher and large are tested under other views by default; write plain, and all

models: {teacher: {}, s: {labels: distilled}}
tables: {t: {rows: [teacher, s], gap: {baseline: [teacher, s], student: s, upper: teacher}}}
=> tables.t.gap: teacher is compared with itself

models: {teacher: {}, k: {config: keypoint_rcnn_tiny}, s: {labels: distilled}}
views: {plain: [{scale: 9}]}
=> tables.results.rows: models of boxes and of keypoints do not go into one table; write `tables`, one of each

models: {teacher: {}, k: {config: keypoint_rcnn_tiny}, s: {labels: distilled}}
views: {plain: [{scale: 9}]}
labels: {distilled: {teacher: [teacher, k]}}
=> labels.distilled.teacher: teachers of boxes and of keypoints do not make one label set

models: {a: {labels: x}, b: {}}
labels: {x: {teacher: [b, a]}}
=> a cycle, each made from the next: labels.x → models.a → labels.x

views: {plain: {scales: [1, 2]}}
merge: {boxes: average}
=> views.plain: must be a single view, since the shared boxes are detected under it

models: {a: {}, b: {config: "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py", lr: auto}}
tables: {t: {rows: [a, b]}}
views: {plain: [{scale: 9}]}
merge: {boxes: average}
=> merge.boxes: average: b scores no given boxes; only Faster and Keypoint R-CNN of config/models can

models: {a: {}, b: {config: "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py", lr: auto, validate: 2}}
tables: {t: {rows: [a]}}
views: {plain: [{scale: 9}]}
merge: {boxes: average}
=> merge.boxes: average: b scores no given boxes; only Faster and Keypoint R-CNN of config/models can

folds: 5
=> folds: 'val' is the same in all of them; make it a subset with `fold: held`

folds: 5
seeds: [0, 1]
=> folds: go with one of `seeds`; each fold adds its number to it

datasets: {labelled: {kind: figures, images: 9}, val: {kind: subset, of: labelled, fold: held}}
models: {teacher: {}}
labels: {}
=> datasets.val.fold: the study has no folds; add `folds: 5`, say

views: {plain: [{scale: 200}], all: {scales: [100, 150]}}
merge: {size_dependent: 900}
=> merge.size_dependent: views.all needs scales up to and from plain's, 200

results: "out{a}"
=> results: 'out{a}' has braces, which Snakemake takes for wildcards; rename it

results: "-out"
=> results: '-out' looks like an option of a program; write './-out'

results: "out\\n"
=> results: 'out\\n' is not a line of text

models: {"a\\n": {}}
=> models: the key 'a\\n' is not a line of text

tables: {t: {rows: [{model: student, name: "a\\x01"}]}}
=> tables.t.rows.name: 'a\\x01' is not a line of text

model: {config: faster_rcnn_tiny, init: "a/{b.pth"}
=> model.init: 'a/{b.pth' has braces, which Snakemake takes for wildcards; rename it

models: {z: {import: {format: mmdet, checkpoint: "a}.pth"}}}
=> models.z.import.checkpoint: 'a}.pth' has braces, which Snakemake takes for wildcards; rename it

shards: two
=> shards: must be integer, not 'two'

device: gpu
=> device: 'gpu' is not one of auto, cpu, cuda

views: {plain: [{scal: 800}]}
=> views.plain.0: unknown key 'scal'; did you mean 'scale'?

views: {plain: [{scale: 0}]}
=> views.plain.0.scale: 0 is less than the minimum of 1

models: {101: {}}
=> models: the key 101 must be text; put it in quotes

models: {../a: {}}
=> models: '../a' cannot be a name; names are of letters, digits, - and _

models: {teacher: {import: {format: torchvision, checkpoint: x.pth}, lr: 0.1, labels: distilled}}
=> models.teacher: an imported model is not trained; remove lr, labels

models: {teacher: {import: {format: caffe, checkpoint: x.pth}}}
=> models.teacher.import.format: 'caffe' is not one of torchvision, mmdet, detectron2, mmpose

models: {teacher: {import: {format: mmdet}}}
=> models.teacher.import: needs the key 'checkpoint'

keep_heatmaps: [1]
=> keep_heatmaps: there is no shard 1; shards are 0 to 0

datasets: {a: {kind: coco, image: x}}
=> datasets.a: unknown key 'image'; did you mean 'images'?

datasets: {a: {kind: coco, images: x}}
=> datasets.a: needs the key 'annotations'

datasets: {a: {kind: subset, of: a}}
models: {t: {labelled: a}}
evaluate: {on: a}
=> a cycle, each made from the next: datasets.a → datasets.a

datasets: {labelled: {kind: figures, images: 1}}
=> datasets: a study without models needs labelled, unlabelled, val; there is no 'unlabelled'

model: keypoint_rcnn_tiny
views: {plain: {scales: [1, 2]}}
=> views.plain: must be a single view, since the boxes of keypoint models are detected under it

model: keypoint_rcnn_tiny
models: {teacher: {config: faster_rcnn_tiny}, s: {labels: distilled}}
views: {plain: [{scale: 9}]}
=> models.s: a keypoint model cannot learn from teacher, which predicts boxes only
""".strip().split("\n\n")


@pytest.mark.parametrize("case", REFUSED)
def test_mistakes_are_one_clear_line(case):
    extra, message = case.split("\n=> ")
    with pytest.raises(UserError) as error:
        study_of(SMALLEST, extra)
    assert str(error.value) == message
