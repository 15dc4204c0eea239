"""The programs, as people call them: a mistake is one line that begins with `error: `, and no output is left.

S is a finished study of stand-ins, D a folder with a damaged file of each kind, OUT the output.
"""

import json
import os
import runpy
import shlex
import sys

import pytest

from distill.study.schema import defaults
from fuzz.harness import edited, limited
from helpers import ROOT, SCRIPTS, artifacts
from helpers.options import dataset_spec

OK, ROWS = (
    "S/datasets/unlabelled.json",
    '{"task": "keypoints", "rows": [{"name": "a", "evaluations": ["S/evaluation/student/val/plain.json"]}]}',
)
LINES = f"""
describe_dataset.py --dataset S/none.json --output OUT => S/none.json: no such file
describe_dataset.py --dataset D/pipe.json --output OUT => D/pipe.json: is not a file
describe_dataset.py --dataset D/half.json --output OUT => D/half.json: not a JSON file
describe_dataset.py --dataset D --output OUT => D: is not a file
describe_dataset.py --dataset S/evaluation/student/val/plain.json --output OUT => is damaged, or another file
describe_dataset.py --dataset {OK} --output D/half.json/x => File exists: D/half.json
split_data.py --name x --spec '{{' --output OUT => --spec is not JSON
split_data.py --name x --spec '{{"kind": "zip"}}' --output OUT => dataset x: unknown kind 'zip'
split_data.py --name x --spec '{{"kind": "coco"}}' --output OUT => dataset x: kind coco needs annotations, images
split_data.py --name x --spec '{{"kind": "folder", "images": "S/none"}}' --output OUT => S/none: no such folder of images
split_data.py --name x --spec '{{"kind": "folder", "images": "D/half.json"}}' --output OUT => D/half.json: no such folder of images
split_data.py --name x --spec '{{"kind": "subset", "of": "y"}}' --output OUT => refers to the dataset y, which is not given
split_data.py --name x --spec '{{"kind": "subset", "of": "y"}}' --source y=D/list.json --output OUT => D/list.json: is damaged, or another file
split_data.py --name x --spec '{{"kind": "subset", "of": "y", "ids": "D/latin.txt"}}' --source y={OK} --output OUT => D/latin.txt, line 2: is not in UTF-8
split_data.py --name x --spec '{{"kind": "subset", "of": "y", "ids": "D/pipe.json"}}' --source y={OK} --output OUT => D/pipe.json: is not a file
split_data.py --name x --spec '{{"kind": "subset", "of": "y", "ids": ["99"]}}' --source y={OK} --output OUT => ids: '99' is no image of y
split_data.py --name x --spec '{{"kind": "subset", "of": "y"}}' --source y=D/hashless.json --output OUT => D/hashless.json: image 7 has no hash
split_data.py --name x --spec '{{"kind": "union", "of": ["y"]}}' --source y=D/rootless.json --output OUT => D/rootless.json: does not say where its images are
check_splits.py --validation D/hashless.json --training {OK} --fingerprints D/list.json D/list.json --output OUT => D/hashless.json: image 7 has no hash
fingerprint_images.py --dataset D/rootless.json --output OUT => D/rootless.json: does not say where its images are
fingerprint_images.py --dataset D/list.json --output OUT => D/list.json: is damaged, or another file
fingerprint_images.py --dataset D/moved.json --output OUT => no such file
check_splits.py --validation S/datasets/val.json --training S/datasets/val.json --fingerprints S/datasets/fingerprints/val.json S/datasets/fingerprints/val.json --output OUT => is also in the training set
check_splits.py --validation {OK} --training {OK} --fingerprints D/list.json D/list.json --output OUT => D/list.json: is damaged, or another file
merge_views.py --dataset {OK} --output OUT --boxes S/predictions/boxes.json S/predictions/shard.json S/predictions/shard.h5 => predictions must be all .json or all .h5
merge_views.py --dataset {OK} --output OUT --options '[]' S/predictions/shard.json => --options: must be a mapping
merge_views.py --dataset {OK} --output OUT --options '{{"nms": "x"}}' S/predictions/shard.json => --options: Expected `float`, got `str`
merge_views.py --dataset {OK} --output OUT --options '{{"nms": NaN}}' S/predictions/shard.json => merge: nms must be an IoU above 0 and up to 1
merge_views.py --dataset {OK} --output OUT --options '{{"vots": 1}}' S/predictions/shard.json => --options: has no 'vots'; there is nms
merge_views.py --dataset {OK} --output OUT S/predictions/shard.json S/predictions/shard.json => comes twice
merge_views.py --dataset {OK} --output OUT D/half.json => D/half.json: not a JSON file
gather_shards.py --output OUT S/merged/teacher/unlabelled/all.json S/merged/teacher/unlabelled/all.json => is in S/merged/teacher/unlabelled/all.json too
gather_shards.py --output OUT D/pipe.json => D/pipe.json: is not a file
select_predictions.py --dataset {OK} --merged D/half.json --output OUT => D/half.json: not a JSON file
calibrate_threshold.py --merged S/none.json --dataset {OK} --labelled S/datasets/labelled.json --output OUT => S/none.json: no such file
calibrate_threshold.py --merged S/merged/teacher/val/plain.json --dataset {OK} --labelled S/datasets/labelled.json --output OUT => which the unlabelled dataset lacks
calibrate_threshold.py --merged S/merged/teacher/unlabelled/all.json --dataset {OK} --labelled S/datasets/labelled.json --options '{{"per": "x"}}' --output OUT => per is 'x'; it is category or all
calibrate_threshold.py --merged S/merged/teacher/unlabelled/all.json --dataset {OK} --labelled S/datasets/labelled.json --options '{{"aim": "validation"}}' --output OUT => --validated: 0 files; two for `aim: validation`, else none
calibrate_threshold.py --merged S/merged/teacher/unlabelled/all.json --dataset {OK} --labelled S/datasets/labelled.json --options '{{"score_floor": "x"}}' --output OUT => --options: Expected `float`, got `str`
generate_labels.py --merged S/merged/teacher/unlabelled/all.json --dataset {OK} --labelled S/datasets/labelled.json --thresholds D/list.json --output OUT => D/list.json: is damaged, or another file
generate_labels.py --merged S/merged/teacher/val/plain.json --dataset {OK} --labelled S/datasets/labelled.json --thresholds S/labels/distilled/thresholds.json --output OUT => which the unlabelled dataset lacks
choose_boxes.py --dataset {OK} --labelled S/datasets/labelled.json --per-label 1 --output OUT D/list.json => D/list.json: not a file of predictions
evaluate.py --dataset {OK} --predictions S/merged/teacher/val/plain.json --output OUT/a/b.json => were its annotations stripped?
evaluate.py --dataset S/datasets/labelled.json --predictions S/merged/teacher/val/plain.json --output OUT/a/b.json => S/merged/teacher/val/plain.json on S/datasets/labelled.json: evaluate: prediction on image
evaluate.py --dataset S/datasets/val.json --predictions D/list.json --output OUT/a/b.json => D/list.json: is damaged, or another file
make_table.py --name t --spec '{ROWS}' --evaluations D/list.json --output OUT => D/list.json: is damaged, or another file
make_table.py --name t --spec '{ROWS}' --evaluations S/evaluation/teacher/val/plain.json --output OUT => table: evaluation
plot_table.py --table D/half.json --options '{{"x": "size"}}' --output OUT => D/half.json: is damaged
plot_table.py --table D/pipe.json --options '{{"x": "size"}}' --output OUT => D/pipe.json: is not a file
plot_training.py --output OUT a=D/half.json => D/half.json: is damaged
plot_training.py --output OUT a=S/none.csv => S/none.csv: no such file
exchange_labels.py import D/list.json --labels S/labels/distilled/annotations.json --output OUT => D/list.json: not Label Studio's tasks
exchange_labels.py import D/pipe.json --labels S/labels/distilled/annotations.json --output OUT => D/pipe.json: is not a file
exchange_labels.py import D/twins.json --labels S/labels/distilled/annotations.json --output OUT => D/twins.json: the key 'images' is there twice
exchange_labels.py import {OK} --labels D/list.json --output OUT => D/list.json: is damaged, or another file
exchange_labels.py export cvat --labels S/none.json --output OUT => S/none.json: no such file
inspect_artifact.py S/none.json => S/none.json: no such file
inspect_artifact.py D => D: a folder; give one file of it
inspect_artifact.py D/half.json => D/half.json: not a JSON file
inspect_artifact.py D/latin.txt => D/latin.txt: no artifact of the pipeline that this program knows
count_jobs.py S/none.yaml => S/none.yaml: no such file
count_jobs.py D/half.json => D/half.json
count_jobs.py D/bomb.yaml => D/bomb.yaml, line 7: its aliases (*name) stand for more than 1000000 values
plan.py --configfile D/pipe.json => D/pipe.json: is not a file
plan.py --configfile D/latin.txt => D/latin.txt, line 2: is not in UTF-8
write_report.py --study D/list.json --results S --output OUT => D/list.json: is damaged, or another file
write_report.py --study D/half.json --results S --output OUT => D/half.json: not a JSON file
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return artifacts.Study(tmp_path_factory.mktemp("study")).results


@pytest.fixture(scope="module")
def damaged(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    os.mkfifo(folder / "pipe.json")
    (folder / "half.json").write_bytes((study / "datasets/unlabelled.json").read_bytes()[:300])
    (folder / "list.json").write_text("[1]")
    (folder / "twins.json").write_text('{"images": [], "annotations": [], "categories": [], "images": []}')
    (folder / "latin.txt").write_bytes(b"1.png\n\xe9.png\n")
    from fuzz.test_configuration_texts import bomb

    (folder / "bomb.yaml").write_text(bomb("[{}]", "*{}"))
    sound = json.loads((study / "datasets/unlabelled.json").read_text())
    (folder / "hashless.json").write_text(json.dumps(edited(sound, "del images.0.hash")))
    (folder / "rootless.json").write_text(json.dumps(edited(sound, "del info.image_root")))
    moved = (study / "datasets/unlabelled.json").read_text().replace(".png", ".gone.png")
    (folder / "moved.json").write_text(moved)
    return folder


def completed(program, argv):
    """The workflow gives programs all options; a case says only those that matter."""
    usual = {
        "merge_views.py": ("--options", {**defaults(ROOT, "labels", "merge"), "plain": 800}),
        "calibrate_threshold.py": ("--options", defaults(ROOT, "labels", "calibrate")),
        "make_table.py": ("--spec", defaults(ROOT, "tables")),
        "split_data.py": ("--spec", None),
    }
    if program not in usual:
        return argv
    option, options = usual[program]
    given = argv[argv.index(option) + 1] if option in argv else "{}"
    try:
        spec = json.loads(given)
        complete = {**options, **spec} if options else dataset_spec(**spec)
    except (TypeError, ValueError):  # what no options are is the case itself
        return argv
    return [arg for arg in argv if arg not in (option, given)] + [option, json.dumps(complete)]


@pytest.mark.parametrize("line", LINES.strip().splitlines(), ids=lambda line: line.partition(" => ")[0][:100])
def test_a_mistake_is_one_line(study, damaged, tmp_path, monkeypatch, capfd, line):
    places = {
        "S/": f"{study}/",
        "D/": f"{damaged}/",
        "OUT": str(tmp_path / "out"),
        " D ": f" {damaged} ",
        " D:": f" {damaged}:",
    }
    command, _, expected = line.partition(" => ")
    command, expected = f"{command} ", f" {expected}"
    for short, path in places.items():
        command, expected = command.replace(short, path), expected.replace(short, path)
    program, *argv = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [program, *completed(program, argv)])
    monkeypatch.syspath_prepend(str(SCRIPTS))
    with limited(20), pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPTS / program), run_name="__main__")
    said = capfd.readouterr().err.splitlines()
    errors = [text for text in said if text.startswith("error: ")]
    assert ended.value.code == 1
    assert len(errors) == 1
    assert said[-1] == errors[0], said  # nothing behind it, no traceback before it
    assert not any("Traceback" in text for text in said)
    assert expected.strip() in errors[0]
    assert not list(tmp_path.iterdir())
