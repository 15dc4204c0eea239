"""Artifacts of numbers alone, cut off or edited by hand: histories, tables, heatmaps, times, counts."""

import csv
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest

from distill.datasets.dataset_file import read_dataset
from distill.evaluation import plots
from distill.evaluation.average_precision import evaluate
from distill.evaluation.metrics import read_evaluation
from distill.files import read_json, write_json
from distill.models.prediction import shard
from distill.report.page import Report
from fuzz.harness import judge, outcome
from helpers.artifacts import EVALUATION, HEATMAPS, HISTORY, TABLE

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
