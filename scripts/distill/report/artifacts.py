"""The artifacts of a study as the report reads them. What is not there is None, empty, or left out."""

import csv
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property, partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from distill.datasets.coco import Coco, Record, instances
from distill.datasets.dataset_file import read_dataset, root_of
from distill.evaluation.metrics import read_evaluation
from distill.files import read_json
from distill.labels.listed import read_next, read_review
from distill.labels.thresholds import read_thresholds
from distill.report.hidden import hidden_truth
from distill.study.lineage import merged_file
from distill.study.seeds import family
from distill.study.types import Study

SHOWN = 4  # label sets that get pictures


class _Run(msgspec.Struct):
    """What the report shows of a run.json, where it has it."""

    seed: int | None = None
    seconds: float | None = None
    resumes: int | None = None
    device: str | None = None
    commit: str | None = None
    versions: dict[str, str] = {}


class _Pair(msgspec.Struct):
    validation: str
    training: str


class _Alike(msgspec.Struct):
    count: int
    pairs: list[_Pair]


class _SplitCheck(msgspec.Struct):
    shared: int
    alike: _Alike | None = None
    unlearnt: list[str] | None = None  # missing of older studies, and where categories may be others


class _Study(msgspec.Struct):
    datasets: dict[str, dict]
    views: dict[str, list[str]]
    models: dict[str, dict]
    labels: dict[str, dict]
    evaluate: dict[str, list[str]]
    tables: dict[str, dict]
    seeds: list[int]
    folds: int = 1


def read_study(path: Path) -> Study:
    """A resolved study. Raises UserError where its file is damaged."""
    return read_json(path, like=_Study)


class Results:
    """The artifacts of one study.

    Names that differ in their seed or fold only are one *family*: numbers are means over it, pictures are of
    its first member.

    study: resolved.
    results: its results folder.
    """

    def __init__(self, study: Study, results: Path) -> None:
        self.study, self.results = study, results
        self.models, self.labels = study["models"], study["labels"]
        self.test_views = study["evaluate"]["views"][0]
        rows = [row for table in study["tables"].values() for row in table.get("rows", ())]
        named = (Path(path).parts[-3:] for row in rows for path in row.get("evaluations", ()))
        self._named = set(named)  # evaluations that the report waits for; others may be of models before
        self.repeated = "fold" if "folds" in study else "seed" if len(study["seeds"]) > 1 else ""
        self._datasets: dict[str, dict[str, Any] | None] = {}
        self._generated: tuple[str, dict[str, Any] | None] = ("", None)

    def optional(self, *parts: str, read: Callable[[Path], Any] = read_json) -> Any | None:
        """An artifact below the results folder, None if it is not there. read: what makes it of its path."""
        path = self.results.joinpath(*parts)
        return read(path) if path.exists() else None

    def thresholds(self, labels: str) -> dict[str, Any] | None:
        """Those of a label set."""
        return self.optional("labels", labels, "thresholds.json", read=read_thresholds)

    def generated(self, labels: str) -> dict[str, Any] | None:
        """The annotations of a label set, without what is neither a label nor background; those that were
        asked for last are kept."""
        if labels != self._generated[0]:
            found = self.optional("labels", labels, "annotations.json", read=_read_shown)
            if found:
                found = {**found, "annotations": instances(found)}
            self._generated = (labels, found)
        return self._generated[1]

    def hidden(self, labels: str, categories: list[Record]) -> Coco | None:
        """`hidden_truth` of the dataset of a label set. categories: of its labels."""
        return hidden_truth(self.labels[labels]["dataset"], self.study["datasets"], self.dataset, categories)

    def listed(self, labels: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
        """The rows of review.csv and next.csv of a label set."""
        folder = ("labels", labels)
        review = self.optional(*folder, "review.csv", read=read_review)
        following = self.optional(*folder, "next.csv", read=read_next)
        return None if review is None or following is None else (review, following)

    def split_check(self, validation: str, training: str) -> dict[str, Any]:
        """What `check_splits` found of two datasets; nothing where it has not run."""
        path = ("datasets", "splits", validation, f"{training}.json")
        return self.optional(*path, read=partial(read_json, like=_SplitCheck)) or {}

    def run(self, model: str) -> dict[str, Any] | None:
        """A model's run.json."""
        return self.optional("models", model, "run.json", read=partial(read_json, like=_Run))

    def dataset(self, name: str) -> dict[str, Any] | None:
        """A dataset's JSON, read once."""
        if name not in self._datasets:
            self._datasets[name] = self.optional("datasets", f"{name}.json", read=_read_shown)
        return self._datasets[name]

    def info(self, name: str) -> dict[str, Any]:
        """What a dataset's JSON says of itself; nothing else of it is kept."""
        found = self._datasets.get(name) or self.optional("datasets", f"{name}.json", read=_read_shown)
        return found["info"] if found else {}

    def repairs(self) -> list[dict[str, Any]]:
        """Datasets, those too that others are made of, in whose annotations something was repaired: {name,
        repaired: {what: count}}."""
        families = self.families(self.study["datasets"])
        found = {family: self.info(members[0]).get("repaired") for family, members in families.items()}
        return [{"name": family, "repaired": repaired} for family, repaired in found.items() if repaired]

    def merged(self, labels: str) -> Path:
        """The merged predictions that a label set is made of."""
        return self.results / merged_file(self.study, labels)

    def seconds(self, *parts: str) -> float | None:
        """The time of the jobs below a folder of benchmarks, added up; None if none was measured."""
        path = self.results.joinpath("benchmarks", *parts)
        files = sorted(path.rglob("*.tsv")) if path.is_dir() else [path.with_name(f"{path.name}.tsv")]
        times = [time for file in files if file.is_file() for time in _times_of(file)]
        return sum(times) if times else None

    def family(self, name: str) -> str:
        """The name without the suffix that several seeds or folds give it."""
        return family(self.study, name)

    def families(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Names that differ in their seed or fold only, under what they share, in order."""
        result: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            result.setdefault(self.family(name), []).append(name)
        return result

    def evaluations(self, model: str, views: str) -> list[dict[str, Any]]:
        """The evaluations of a model's whole family under a view set."""
        members = self.families(self.models)[self.family(model)]
        paths = [self.evaluation_path(name, views) for name in members]
        found = [self.optional("evaluation", *path, read=read_evaluation) for path in paths if path]
        return [evaluation for evaluation in found if evaluation]

    def evaluation_path(self, model: str, views: str) -> tuple[str, ...]:
        """Where that of one model is, below the folder of evaluations; empty where no table has it."""
        path = model, self.models[model]["validation"], f"{views}.json"
        return path if path in self._named else ()

    def ap(self, model: str, views: str | None = None, task: str | None = None) -> float | None:
        """AP in percent, the mean over the seeds; without `views` under the first of the test views. task: of
        which; None: the model's own."""
        blocks = [e.get(task or e["task"]) or {} for e in self.evaluations(model, views or self.test_views)]
        values = [100 * block["AP"] for block in blocks if block.get("AP") is not None]
        return sum(values) / len(values) if values else None

    def averaged_over(self, model: str) -> str:
        """What `ap` of a model is the mean of: "5 folds", or "2 of 5 folds" if others are not evaluated."""
        members = len(self.families(self.models)[self.family(model)])
        evaluated = len(self.evaluations(model, self.test_views))
        over = f"{members} {self.repeated}s" if members > 1 else ""
        return f"{evaluated} of {over}" if evaluated < members else over

    def student(self, labels: str) -> str | None:
        """The first model that is trained on these labels; if there is none, the first one on a dataset in
        the place of generated labels, which are taken for these, corrected."""
        trained = {name: model["labels"] for name, model in self.models.items() if model["labels"]}
        students = [name for name, source in trained.items() if source == labels]
        students += [name for name, source in trained.items() if source not in self.labels]
        return students[0] if students else None

    def baseline(self, student: str, teachers: Iterable[str]) -> str | None:
        """Of the same networks that learn from a student's labelled images alone, from the same start and as
        long, the best one, if there is any but these teachers."""
        known = set(map(self.family, teachers))
        alike = itemgetter("config", "labelled", "init", "iterations")
        found = [
            name
            for name, model in self.models.items()
            if self.family(name) not in known
            and "import" not in model
            and not model["labels"]
            and model["iterations"] != "auto"  # longer for a student
            and alike(model) == alike(self.models[student])
            and self.ap(name) is not None
        ]
        return max(found, key=lambda name: self.ap(name) or 0, default=None)

    def first_teacher(self, model: str) -> str:
        """The teacher of its teacher, and so on, down to one that learnt from no teacher's labels."""
        while (labels := self.models[model]["labels"]) in self.labels and self.labels[labels]["teachers"]:
            model = self.labels[labels]["teacher"]
        return model

    @cached_property
    def shown_labels(self) -> dict[str, str]:
        """Of the label sets that get pictures: name without seed → name of the first seed."""
        return {family: members[0] for family, members in list(self.families(self.labels).items())[:SHOWN]}


def _read_shown(path: Path) -> dict[str, Any]:
    """A dataset whose images are shown."""
    dataset = read_dataset(path)
    root_of(dataset, path)
    return dataset


def _times_of(benchmark: Path) -> list[float]:
    """Seconds of the runs of a job, of those that say any (a run may be too short to be measured)."""
    times = []
    with open(benchmark, newline="", encoding="utf-8", errors="replace") as rows, suppress(csv.Error):
        for row in csv.DictReader(rows, delimiter="\t"):
            with suppress(KeyError, TypeError, ValueError):
                times.append(float(row["s"]))
    return [time for time in times if math.isfinite(time)]
