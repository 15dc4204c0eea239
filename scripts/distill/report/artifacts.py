"""The artifacts of a study as the report reads them. What is not there is None, empty, or left out."""

import csv
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from distill.files import read_json
from distill.study.seeds import family
from distill.study.types import Study

SHOWN = 4  # label sets that get pictures


class Results:
    """The artifacts of one study.

    Names that differ in their seed only are one *family*: numbers are means over it, pictures are of its
    first member.

    study: resolved.
    results: its results folder.
    """

    def __init__(self, study: Study, results: Path) -> None:
        self.study, self.results = study, results
        self.models, self.labels = study["models"], study["labels"]
        self.test_views = study["evaluate"]["views"][0]
        self._datasets: dict[str, dict[str, Any] | None] = {}

    def optional(self, *parts: str) -> Any | None:
        """A JSON artifact below the results folder, None if it is not there."""
        path = self.results.joinpath(*parts)
        return read_json(path) if path.exists() else None

    def dataset(self, name: str) -> dict[str, Any] | None:
        """A dataset's JSON, read once."""
        if name not in self._datasets:
            self._datasets[name] = self.optional("datasets", f"{name}.json")
        return self._datasets[name]

    def merged(self, labels: str) -> Path:
        """The merged predictions that a label set is made of."""
        entry = self.labels[labels]
        merged = self.results / "merged" / entry["together"]
        return merged / entry["dataset"] / f"{entry['merged']}.json"

    def seconds(self, *parts: str) -> float | None:
        """The time of the jobs below a folder of benchmarks, added up; None if none was measured."""
        total = None
        path = self.results.joinpath("benchmarks", *parts)
        for file in sorted(path.rglob("*.tsv")) if path.is_dir() else [path.with_name(f"{path.name}.tsv")]:
            if file.exists():
                with open(file, newline="", encoding="utf-8") as rows:
                    total = (total or 0) + sum(float(r["s"]) for r in csv.DictReader(rows, delimiter="\t"))
        return total

    def family(self, name: str) -> str:
        """The name without the suffix that several seeds give it."""
        return family(self.study, name)

    def families(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Names that differ in their seed only, under what they share, in order."""
        result: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            result.setdefault(self.family(name), []).append(name)
        return result

    def evaluations(self, model: str, views: str) -> list[dict[str, Any]]:
        """The evaluations of a model's whole family under a view set."""
        found = (
            self.optional("evaluation", name, self.models[name]["validation"], f"{views}.json")
            for name in self.families(self.models)[self.family(model)]
        )
        return [evaluation for evaluation in found if evaluation]

    def ap(self, model: str, views: str | None = None) -> float | None:
        """AP in percent, the mean over the seeds; without `views` under the first of the test views."""
        found = [e.get("AP") for e in self.evaluations(model, views or self.test_views)]
        values = [100 * value for value in found if value is not None]
        return sum(values) / len(values) if values else None

    def student(self, labels: str) -> str | None:
        """The first model that is trained on these labels; if there is none, the first one on a dataset in
        the place of generated labels, which are taken for these, corrected."""
        trained = {name: model["labels"] for name, model in self.models.items() if model["labels"]}
        students = [name for name, source in trained.items() if source == labels]
        students += [name for name, source in trained.items() if source not in self.labels]
        return students[0] if students else None

    def first_teacher(self, model: str) -> str:
        """The teacher of its teacher, and so on, down to one that learnt from no generated labels."""
        while (labels := self.models[model]["labels"]) in self.labels:
            model = self.labels[labels]["teacher"]
        return model

    @cached_property
    def shown_labels(self) -> dict[str, str]:
        """Of the label sets that get pictures: name without seed → name of the first seed."""
        return {family: members[0] for family, members in list(self.families(self.labels).items())[:SHOWN]}
