"""Artifacts that were cut off, overwritten or edited by hand: every program that reads one says which, in a line."""

import csv
import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from distill.datasets.dataset_file import read_dataset, root_of
from distill.datasets.fingerprints import fingerprints, read_fingerprints
from distill.datasets.kinds import shard
from distill.evaluation import plots, tables
from distill.evaluation.average_precision import evaluate
from distill.evaluation.metrics import read_evaluation
from distill.files import read_json, write_json
from distill.inspection.words import describe
from distill.labels.calibrate import calibrate
from distill.labels.generate import generate
from distill.labels.thresholds import read_thresholds
from distill.predictions import coco_results, merge, merge_heatmaps
from distill.predictions.fixed_boxes import FixedBoxes
from distill.predictions.heatmap_file import HeatmapWriter
from distill.report.page import Report
from fuzz.harness import edited, judge, no_file, outcome, table, text_of
from helpers import studied
from helpers.options import calibrate_options, merge_options, table_spec

DATASET, LABELS = "datasets/unlabelled.json", "labels/distilled/annotations.json"
LABELLED, MERGED = "datasets/labelled.json", "merged/teacher/unlabelled/all.json"
THRESHOLDS, EVALUATION = "labels/distilled/thresholds.json", "evaluation/student/val/plain.json"
HISTORY, RUN, TABLE = "models/student/history.csv", "models/student/run.json", "tables/main.csv"
PRINTS, SPLITS, SHARD = (
    "datasets/fingerprints/val.json",
    "datasets/splits/val/labelled.json",
    "predictions/shard.json",
)
BOXES, HEATMAPS, MARKDOWN = "predictions/boxes.json", "predictions/shard.h5", "tables/main.md"


class Study:
    """A finished study of stand-ins, one file of which is damaged."""

    def __init__(self, folder):
        self.study, self.results = studied.make(folder)
        val = read_dataset(self.results / "datasets/val.json")
        found = list(fingerprints(val, root_of(val, "val")))
        write_json(self.results / PRINTS, {"images": found})
        write_json(
            self.results / SPLITS, {"validation": {"val": 6}, "training": {"labelled": 6}, "shared": 0}
        )
        self.images = read_dataset(self.results / DATASET)["images"]
        first = self.images[0]
        box = {"image_id": first["id"], "category_id": 3, "bbox": [1.0, 2.0, 30.0, 40.0], "score": 0.5}
        write_json(self.results / BOXES, [{"id": 1, **box}])
        size = {"width": first["width"], "height": first["height"]}
        header = {"id": first["id"], **size, **{f"view_{key}": value for key, value in size.items()}}
        view = f"s{min(size.values()):04d}"
        head = {"view": view, "model": "teacher", "dataset": "unlabelled", "images": [header]}
        write_json(self.results / SHARD, {**head, "predictions": [box]})
        from distill.datasets.keypoint_meta import keypoint_meta

        meta = keypoint_meta(read_dataset(self.results / LABELLED))
        with HeatmapWriter(self.results / HEATMAPS, view, "teacher", "unlabelled", meta) as writer:
            maps = np.random.default_rng(0).normal(0, 3, (1, 3, 56, 56))
            writer.append(maps, [first["id"]], [[1.0, 2.0, 30.0, 40.0]], [0.5], [3])
        self.spec = self.study["tables"]["main"]
        row = [row for row in self.spec["rows"] if row["evaluations"][0].endswith(EVALUATION)]
        self.of_row = table_spec(rows=row, task="keypoints")

    def path(self, name):
        return self.results / name

    def use(self, name):
        """Whatever reads the artifact."""
        return USES[name](self, self.path(name))


def make_labels(study, path):
    dataset, labelled = (read_dataset(study.path(name)) for name in (DATASET, LABELLED))
    output = study.path("again.json")
    generate(study.path(MERGED), dataset, labelled, read_thresholds(study.path(THRESHOLDS)), output)
    return read_dataset(output)


def rank(study, path):
    dataset, labelled = (read_dataset(study.path(name)) for name in (DATASET, LABELLED))
    found = calibrate(path, dataset, labelled, calibrate_options())
    list(coco_results.gather([path]))
    list(coco_results.select(path, dataset))
    return found


def merged_boxes(study, path):
    return list(merge.merge_boxes([path], {"images": study.images}, merge_options()))


def merged_heatmaps(study, path):
    return list(
        merge_heatmaps.merge_heatmaps([path], {"images": study.images}, merge_options(), study.path(BOXES))
    )


USES = {
    DATASET: lambda study, path: read_dataset(path),
    LABELS: lambda study, path: Report(study.study, study.results).generated("distilled"),
    THRESHOLDS: make_labels,
    MERGED: rank,
    EVALUATION: lambda study, path: tables.build(study.of_row, {str(path): read_evaluation(path)}).frame,
    HISTORY: lambda study, path: plots.read_history(path),
    RUN: lambda study, path: Report(study.study, study.results).runs(),
    TABLE: lambda study, path: plots.read_rows(path),
    MARKDOWN: lambda study, path: Report(study.study, study.results).tables(),
    PRINTS: lambda study, path: read_fingerprints(path),
    SPLITS: lambda study, path: Report(study.study, study.results).alike(),
    SHARD: merged_boxes,
    BOXES: lambda study, path: FixedBoxes.read(path, study.images, study.path(DATASET)),
    HEATMAPS: merged_heatmaps,
}
DAMAGES = {
    "empty": lambda t: b"",
    "cut in half": lambda t: t[: len(t) // 2],
    "the end missing": lambda t: t.rstrip()[:-1],
    "zeros": lambda t: bytes(len(t)),
    "something behind it": lambda t: t + b"x,,,[",
    "twice": lambda t: t + t,
    "null": lambda t: b"null",
    "a number": lambda t: b"3",
    "text": lambda t: b'"x"',
    "a list": lambda t: b"[]",
    "an object": lambda t: b"{}",
    "a list of numbers": lambda t: b"[1, 2]",
    "a list of nothing": lambda t: b"[null]",
    "deep": lambda t: b"[" * 100_000,
    "UTF-16": lambda t: t.decode("latin-1").encode("utf-16"),
    "Latin-1": lambda t: b"\xe9" + t,
    "a page": lambda t: b"<!DOCTYPE html><html>404</html>",
    "nan": lambda t: t.replace(b": 1", b": NaN", 1) if b": 1" in t else b"[NaN]",
}
# (artifact, damage) that leave something sound, as the comment says.
SOUND = {
    (MERGED, "a list"),  # no predictions
    (BOXES, "a list"),  # no boxes
    (HEATMAPS, "something behind it"), (HEATMAPS, "twice"),  # HDF5 knows its end
    (THRESHOLDS, "UTF-16"),  # as some editors save
    (RUN, "an object"),  # nothing is said
    (TABLE, "the end missing"), (HISTORY, "the end missing"),  # of the last number, or of an empty field
}  # fmt: skip
TEXTS = (HISTORY, TABLE, MARKDOWN)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return Study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def spoil(study):
    """Writes bytes in the place of an artifact, which comes back afterwards."""
    kept = []

    def write(name, content):
        path = study.path(name)
        kept.append((path, path.read_bytes()))
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return path

    yield write
    for path, content in kept:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("name", USES)
def test_the_sound_ones_are_read(study, name):
    message, result = outcome(lambda: study.use(name))
    assert message is None, message
    assert result is not None


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [name for name in USES if name != MARKDOWN])
def test_damage(study, spoil, name, damage):
    path = spoil(name, DAMAGES[damage](study.path(name).read_bytes()))
    message, result = outcome(lambda: study.use(name))
    if (name, damage) in SOUND:
        assert message is None, message
    elif name in TEXTS and message is None:  # a table of numbers, still
        assert not result.empty
        assert damage in ("cut in half", "the end missing", "twice")
    else:
        assert message, f"accepted as {str(result)[:300]}"
        assert str(path) in message


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("what", ["pipe", "folder", "device", "loop"])
def test_what_is_no_file(study, spoil, name, what):
    path = spoil(name, None)
    no_file(path, what)
    expected = "cannot be read" if what == "loop" else "is not a file"
    if what == "loop" and name in (LABELS, RUN, SPLITS, MARKDOWN):
        expected = "ok"  # as if it were not there: the report leaves it out
    judge(expected, lambda: study.use(name), str(path) if expected != "ok" else "")


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


COLUMNS = {
    "iteration,loss,labelled,generated\n": "ok it.empty",
    "iteration,loss\n1,2\n": "is damaged (no numbers under 'labelled')",
    "iteration,loss,labelled,generated\n1,x,2,3\n": "is damaged (no numbers under 'loss')",
    "iteration,loss,labelled,generated\nx,1,2,3\n": "is damaged (no numbers under 'iteration')",
    "iteration,loss,labelled,generated\n1,nan,2,3\n2,inf,2,3\n": "ok len(it) == 2",
    "iteration,loss,labelled,generated\n1,1,2,3\n2,2\n": "ok len(it) == 2",
    "iteration,loss,labelled,generated\n1,1,2,3,4,5\n1,1\n": "is damaged",
    'iteration,loss,labelled,generated\n"1,1,2,3\n': "is damaged",
    "iteration;loss;labelled;generated\n1;1;2;3\n": "is damaged (no numbers under 'iteration')",
    "\ufeffiteration,loss,labelled,generated\n1,1,2,3\n": "ok len(it) == 1",
    "iteration,iteration,loss,labelled,generated\n1,1,1,2,3\n": "ok len(it) == 1",
    "\n\n\n": "is damaged",
    "loss": "is damaged (no numbers under 'iteration')",
}


@pytest.mark.parametrize("text", COLUMNS, ids=ascii)
def test_an_edited_history(study, spoil, text):
    path = spoil(HISTORY, text.encode())
    expected = COLUMNS[text]
    judge(expected, lambda: plots.read_history(path), "" if expected.startswith("ok") else str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "ok it[0]['rows'] == []"),
        ("no table", "ok it[0]['notes'] == ['no table']"),
        ("| a |\n", "ok it[0]['rows'] == []"),
        ("| row | AP |\n|---|---:|\n| a |\n", "is damaged"),
        ("| row | AP |\n|---|---:|\n| a | 1 | 2 |\n", "is damaged"),
        ("| row | AP |\n|---|\n| a | 1 |\n", "is damaged"),
        ("| row | AP |\n|---|---:|\n| a | x |\n", "ok it[0]['rows'][0][1]['text'] == 'x'"),
        ("| row | AP |\n|---|---:|\n| a | nan |\n", "ok it[0]['rows'][0][1]['bar'] is None"),
    ],
)
def test_an_edited_table(study, spoil, text, expected):
    path = spoil(MARKDOWN, text.encode())
    judge(expected, lambda: study.use(MARKDOWN), "" if expected.startswith("ok") else str(path))


def drop(file, name):
    del file[name]


HDF5 = {
    "no heatmaps": (lambda f: drop(f, "heatmap"), "not a readable file of heatmaps"),
    "no images": (lambda f: drop(f, "image_id"), "not a readable file of heatmaps"),
    "no peaks": (lambda f: drop(f, "peak"), "ok len(it) == 1"),  # as older files
    "no view": (lambda f: f.attrs.pop("view"), "not a readable file of heatmaps"),
    "no names": (lambda f: f.attrs.pop("keypoint_names"), "not a readable file of heatmaps"),
    "another view": (lambda f: f.attrs.__setitem__("view", "x"), "'x' names no view"),
    "a number for a view": (lambda f: f.attrs.__setitem__("view", 5), "not a readable file of heatmaps"),
    "pairs of nothing": (lambda f: f.attrs.__setitem__("flip_pairs", 5), "not a readable file of heatmaps"),
    "pairs beyond": (
        lambda f: f.attrs.__setitem__("flip_pairs", [[0, 9]]),
        "not a readable file of heatmaps",
    ),
    "an unknown image": (lambda f: f["image_id"].__setitem__(0, 999), "its instances are not those of"),
    "more boxes": (lambda f: f["image_id"].resize(2, 0), "not a readable file of heatmaps"),
    "fewer heatmaps": (lambda f: f["heatmap"].resize(0, 0), "not a readable file of heatmaps"),
    "heatmaps that are nan": (lambda f: f["heatmap"].__setitem__(0, np.nan), "are not finite"),
    "a score that is nan": (lambda f: f["score"].__setitem__(0, np.nan), "are not finite"),
    "another box": (lambda f: f["box"].__setitem__(0, [0, 0, 1, 1]), "its instances are not those of"),
}


@pytest.mark.parametrize("edit", HDF5)
def test_an_edited_file_of_heatmaps(study, spoil, edit):
    path = spoil(HEATMAPS, study.path(HEATMAPS).read_bytes())
    change, expected = HDF5[edit]
    with h5py.File(path, "r+") as file:
        change(file)
    judge(expected, lambda: study.use(HEATMAPS))


@pytest.mark.parametrize(("index", "count"), [(5, 2), (2, 2), (-1, 2), (0, 0), (0, -1), (1, 1)])
def test_a_shard_that_there_is_not(index, count):
    judge(f"there is no shard {index} of {count}", lambda: shard([1, 2, 3], index, count))


@pytest.mark.parametrize("name", [DATASET, LABELS, THRESHOLDS, MERGED, EVALUATION, SHARD, SPLITS])
@pytest.mark.parametrize(
    "damage", ["empty", "null", "a list", "an object", "a list of nothing", "cut in half"]
)
def test_words_about_damaged_artifacts(study, spoil, name, damage):
    """`inspect_artifact` describes what it can, and says what it cannot."""
    path = spoil(name, DAMAGES[damage](study.path(name).read_bytes()))
    message, lines = outcome(lambda: describe(path))
    assert str(path) in (message or lines[0])


@pytest.mark.parametrize("text", ["s\nNA\n", "", "x", "s\th\n\n", "s\n-\n", "s\n1e999\n"])
def test_times_that_are_none(study, text):
    """The report leaves out what a benchmark does not say."""
    path = study.results / "benchmarks/fuzz/x.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    message, seconds = outcome(lambda: Report(study.study, study.results).seconds("fuzz"))
    assert message is None
    assert seconds is None
    shutil.rmtree(path.parent)


def test_a_row_of_a_history_that_a_kill_cut_off(tmp_path):
    pytest.importorskip("mmengine")
    from distill.models.hooks import _rows_until

    rows = "iteration,loss\n10,1.5\n20,1.25"
    kept = _rows_until(20, rows, tmp_path / "history.csv")
    assert kept["iteration"].tolist() == ["10", "20"]
    judge(
        "is damaged; remove it to go on",
        lambda: _rows_until(20, "iteration,loss\nx,1", tmp_path / "history.csv"),
    )
    judge("is damaged; remove it to go on", lambda: _rows_until(20, "loss\n1", tmp_path / "history.csv"))


@pytest.mark.parametrize("text", ["", "3", "3\n", "x", "-1", "1.5", "\0", "9" * 30, b"\xe9"], ids=ascii)
def test_how_often_a_training_was_resumed(tmp_path, text):
    """A count that was cut off does not stop a training; it is counted from there."""
    pytest.importorskip("mmengine")
    from distill.models.work_folder import count_resumes

    (tmp_path / "resumes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    message, count = outcome(lambda: count_resumes(tmp_path, tmp_path / "iter_10.pth"))
    assert message is None
    assert count == {"3": 4, "3\n": 4, "9" * 30: 10**30}.get(text, 1)
    assert (tmp_path / "resumes.txt").read_text() == str(count)
    assert count_resumes(tmp_path, None) == 0


def test_evaluations_of_nothing(study):
    """No AP is none, and not a row of the table."""
    val = read_dataset(study.path("datasets/val.json"))
    metrics = evaluate({**val, "annotations": []}, [])
    path = study.path("evaluation/none/val/plain.json")
    write_json(path, {"model": "none", "dataset": "val", "views": "plain", **metrics})
    judge("expected `float`, got `null`", lambda: read_evaluation(path), str(path))
    assert read_json(study.path(EVALUATION))["AP"] is not None


def test_tables_are_what_their_files_say(study):
    with open(study.path(TABLE), newline="") as file:
        assert [row["row"] for row in csv.DictReader(file)] == plots.read_rows(study.path(TABLE))[
            "row"
        ].tolist()
    assert isinstance(plots.read_rows(study.path(TABLE)), pd.DataFrame)
