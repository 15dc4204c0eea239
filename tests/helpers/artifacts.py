"""A finished study of stand-ins, and of each of its artifacts what reads it."""

import numpy as np

from distill.datasets.dataset_file import read_dataset, root_of
from distill.datasets.fingerprints import fingerprints, read_fingerprints
from distill.evaluation import plots, tables
from distill.evaluation.metrics import read_evaluation
from distill.files import write_json
from distill.labels.calibrate import calibrate
from distill.labels.generate import generate
from distill.labels.thresholds import read_thresholds
from distill.predictions import coco_results, merge, merge_heatmaps
from distill.predictions.fixed_boxes import FixedBoxes
from distill.predictions.heatmap_writer import writing
from distill.predictions.views import View
from distill.report.page import Report
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
BOXES, HEATMAPS = "predictions/boxes.json", "predictions/shard.h5"


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
        with writing(self.results / HEATMAPS, View.parse(view), "teacher", "unlabelled", meta) as writer:
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
    PRINTS: lambda study, path: read_fingerprints(path),
    SPLITS: lambda study, path: Report(study.study, study.results).alike(),
    SHARD: merged_boxes,
    BOXES: lambda study, path: FixedBoxes.read(path, study.images, study.path(DATASET)),
    HEATMAPS: merged_heatmaps,
}
