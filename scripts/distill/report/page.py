"""The report: one self-contained HTML page from the artifacts of a study, for someone who wants to look.

Everything is read from the results folder; what is not there (no history, no evaluation, an image that has
moved) is left out of the page. Of models and labels repeated over seeds the first is shown in pictures, the
numbers are means. Deterministic: the same artifacts give the same page.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from distill.files import read_json
from distill.labels import candidates
from distill.report import charts
from distill.report.comparison import Shown
from distill.report.drawing import Album
from distill.report.gallery import compared, gallery
from distill.report.reading import duration, number, parse_table, plural, ratio, read_history, signed

SHOWN = 4  # label sets that get pictures
PANELS = 8  # histograms of categories


class Report:
    """Gathers the sections of the page; `study` is the resolved study, `results` its results folder."""

    def __init__(self, study: Mapping[str, Any], results: Path) -> None:
        self.study, self.results, self.album = study, results, Album()
        self.models, self.labels = study["models"], study["labels"]
        self.test_views = study["evaluate"]["views"][0]
        self._datasets: dict[str, dict[str, Any] | None] = {}

    def render(self) -> str:
        """The page."""
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        environment.filters.update(
            number=number, plural=plural, duration=duration, pretty=pretty, signed=signed
        )
        return environment.get_template("page.html").render(
            name=self.results.resolve().name,
            headline=self.headline(),
            chains=self.chains(),
            tables=self.tables(),
            calibrations=self.calibrations(),
            galleries=self.galleries(),
            comparisons=self.comparisons(),
            curves=self.curves(),
            datasets=self.dataset_rows(),
            runs=self.runs(),
            study=self.study,
            image_definitions=self.album.definitions(),  # last: the sections above fill the album
        )

    # --- what there is ---

    def optional(self, *parts: str) -> Any | None:
        """A JSON artifact below the results folder, None if it is not there."""
        path = self.results.joinpath(*parts)
        return read_json(path) if path.exists() else None

    def dataset(self, name: str) -> dict[str, Any] | None:
        """A dataset's JSON, read once."""
        if name not in self._datasets:
            self._datasets[name] = self.optional("datasets", f"{name}.json")
        return self._datasets[name]

    def family(self, name: str) -> str:
        """The name without the suffix that several seeds give it."""
        seeds = self.study["seeds"] if len(self.study["seeds"]) > 1 else ()
        return next((name.removesuffix(f"-seed{n}") for n in seeds if name.endswith(f"-seed{n}")), name)

    def families(self, names: Iterable[str]) -> dict[str, list[str]]:
        """Names that differ in their seed only, under what they share, in order."""
        result: dict[str, list[str]] = {}
        for name in dict.fromkeys(names):
            result.setdefault(self.family(name), []).append(name)
        return result

    def ap(self, model: str) -> float | None:
        """AP in percent under the first of the test views, the mean over the seeds."""
        values = []
        for name in self.families(self.models)[self.family(model)]:
            path = ("evaluation", name, self.models[name]["validation"], f"{self.test_views}.json")
            value = (self.optional(*path) or {}).get("AP")
            if value is not None:
                values.append(100 * value)
        return sum(values) / len(values) if values else None

    def student(self, labels: str) -> str | None:
        """The first model trained on these labels."""
        return next((name for name, model in self.models.items() if model["labels"] == labels), None)

    @cached_property
    def shown_labels(self) -> dict[str, str]:
        """Of the label sets that get pictures: name without seed → name of the first seed."""
        return {family: members[0] for family, members in list(self.families(self.labels).items())[:SHOWN]}

    # --- sections ---

    def headline(self) -> dict[str, Any] | None:
        """AP of the last student and of its teacher; None unless both were evaluated."""
        for labels in reversed(self.labels):
            student, teacher = self.student(labels), self.labels[labels]["teacher"]
            if student and None not in (aps := (self.ap(teacher), self.ap(student))):
                validation = self.family(self.models[student]["validation"])
                seeds = len(self.families(self.models)[self.family(student)])
                return {"teacher": aps[0], "student": aps[1], "seeds": seeds, "validation": validation}
        return None

    def chains(self) -> list[list[dict[str, Any]]]:
        """For each label set the cards labelled, teacher, unlabelled, labels, student, with their counts."""
        result = []
        for family, name in self.shown_labels.items():
            labels, student = self.labels[name], self.student(name)
            teacher = self.models[labels["teacher"]]
            views = plural(len(self.study["views"][labels["views"]]), "view")
            result.append(
                [
                    self._dataset_card("labelled images", teacher["labelled"]),
                    *(self._model_card(self._role(one), one) for one in labels["teachers"]),
                    self._dataset_card("unlabelled images", labels["dataset"], f"seen under {views}"),
                    self._labels_card(family, name),
                    *([self._model_card("student", student)] if student else []),
                ]
            )
        return result

    def _role(self, teacher: str) -> str:
        return "student as teacher" if self.models[teacher]["labels"] else "teacher"

    def _dataset_card(self, role: str, name: str, *notes: str) -> dict[str, Any]:
        dataset = self.dataset(name)
        lines = [self.family(name), *notes]
        if dataset and dataset["annotations"]:
            lines.append(plural(instances(dataset), "instance"))
        value = number(len(dataset["images"])) if dataset else None
        return {"role": role, "value": value, "unit": "images", "lines": lines}

    def _model_card(self, role: str, name: str) -> dict[str, Any]:
        model, ap = self.models[name], self.ap(name)
        lines = [self.family(name), model["config"]]
        if "import" in model:
            lines.append(f"imported from {model['import']['format']}")
        elif isinstance(model["iterations"], int):
            lines.append(plural(model["iterations"], "iteration"))
        if model["labels"]:
            lines.append(f"labelled : generated {ratio(model['ratio'])}")
        unit = f"AP on {self.family(model['validation'])}"
        return {"role": role, "value": None if ap is None else f"{ap:.1f}", "unit": unit, "lines": lines}

    def _labels_card(self, family: str, name: str) -> dict[str, Any]:
        thresholds = self.optional("labels", name, "thresholds.json")
        entries = list(thresholds["instances"].values()) if thresholds else []
        lines = [family]
        if entries and all(entry["aimed"] is not None for entry in entries):
            lines.append(f"aimed at {number(sum(entry['aimed'] for entry in entries))}")
        if len(entries) == 1 and entries[0]["threshold"] is not None:
            lines.append(f"score ≥ {entries[0]['threshold']:.3f}")
        elif len(entries) > 1:
            lines.append(f"{len(entries)} categories")
        value = number(sum(entry["met"] for entry in entries)) if entries else None
        return {"role": "generated labels", "value": value, "unit": "labels", "lines": lines}

    def tables(self) -> list[dict[str, Any]]:
        """The tables of the study in its order, read from their Markdown: its numbers are rounded already."""
        paths = {name: self.results / "tables" / f"{name}.md" for name in self.study["tables"]}
        return [
            {"name": name, **parse_table(path.read_text(encoding="utf-8"))}
            for name, path in paths.items()
            if path.exists()
        ]

    def calibrations(self) -> list[dict[str, Any]]:
        """Thresholds with aimed and met counts, and the histograms of the scores that they divide."""
        result = []
        for family, name in self.shown_labels.items():
            thresholds = self.optional("labels", name, "thresholds.json")
            if thresholds is None:
                continue
            rows = list(thresholds["instances"].values())
            if thresholds["keypoints"]:
                rows.append({"name": "keypoints (mean per instance)", **thresholds["keypoints"]})
            result.append({"name": family, "rows": rows, "chart": self._histograms(name, thresholds)})
        return result

    def _histograms(self, name: str, thresholds: Mapping[str, Any]) -> Markup | None:
        entry, labels = self.labels[name], self.optional("labels", name, "annotations.json")
        merged = self.results / "merged" / "+".join(entry["teachers"])
        path = merged / entry["dataset"] / f"{entry['merged']}.json"
        dataset = self.dataset(entry["dataset"])
        if not (path.exists() and dataset and labels):
            return None
        scores: dict[int, list[float]] = {category["id"]: [] for category in labels["categories"]}
        for candidate in candidates(path, dataset, labels["categories"]):
            scores[candidate["category_id"]].append(candidate["score"])
        most = sorted(scores, key=lambda category: -len(scores[category]))[:PANELS]
        found = thresholds["instances"]
        panels = [(found[str(c)]["name"], scores[c], found[str(c)]["threshold"]) for c in most]
        if thresholds["keypoints"]:
            of_points = [s for a in labels["annotations"] for s in a.get("keypoint_scores", ())]
            panels.append(("keypoints of the labels", of_points, thresholds["keypoints"]["threshold"]))
        return charts.histograms(panels)

    def galleries(self) -> list[dict[str, Any]]:
        """Generated labels drawn on their images."""
        found = (
            (f, self.optional("labels", name, "annotations.json")) for f, name in self.shown_labels.items()
        )
        return [{"name": family, **gallery(labels, self.album)} for family, labels in found if labels]

    def comparisons(self) -> list[dict[str, Any]]:
        """Teacher, student and ground truth on the validation images where the two models differ most."""
        result = []
        for name in self.shown_labels.values():
            student, teacher = self.student(name), self.labels[name]["teacher"]
            validation = self.models[student or teacher]["validation"]
            paths = [
                self.results / "merged" / model / validation / f"{self.test_views}.json"
                for model in (teacher, student)
                if model
            ]
            truth = self.dataset(validation)
            if student and truth and all(path.exists() for path in paths):
                shown = [Shown.of(path, truth) for path in paths]
                names = {"teacher": self.family(teacher), "student": self.family(student)}
                result.append({**names, **compared(truth, *shown, self.album)})
        return result

    def curves(self) -> list[Markup]:
        """Loss by iteration of all models, and the share of generated images that students have seen."""
        loss, share = {}, {}
        for family, members in self.families(self.models).items():
            history = read_history(self.results / "models" / members[0] / "history.csv")
            if not history:
                continue
            middles, means = charts.smooth(history["loss"])
            loss[family] = (np.asarray(history["iteration"])[middles], means)
            if self.models[members[0]]["labels"]:
                labelled, generated = np.asarray(history["labelled"]), np.asarray(history["generated"])
                share[family] = (history["iteration"], generated / np.maximum(labelled + generated, 1))
        result = []
        if loss:
            result.append(charts.curves(loss, "training loss", log_y=True))
        if share:
            result.append(charts.curves(share, "generated images, share of all drawn so far", log_y=False))
        return result

    def dataset_rows(self) -> list[dict[str, Any]]:
        """Counts of every dataset that a model, a label set or an evaluation uses, and what was left out."""
        used = [model["labelled"] for model in self.models.values()]
        used += [entry["dataset"] for entry in self.labels.values()]
        used += [model["validation"] for model in self.models.values()]
        datasets = [(f, self.dataset(members[0])) for f, members in self.families(used).items()]
        return [{"name": family, **counts(dataset)} for family, dataset in datasets if dataset]

    def runs(self) -> list[dict[str, Any]]:
        """Provenance of every model."""
        found = ((name, self.optional("models", name, "run.json")) for name in self.models)
        return [{"name": name, "run": run} for name, run in found if run]


def counts(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Images, non-crowd instances (also by category), visible keypoints of those with any, skipped."""
    real = [a for a in dataset["annotations"] if not a.get("iscrowd")]
    posed = [n for a in real if (n := sum(v > 0 for v in a.get("keypoints", ())[2::3]))]
    names = {c["id"]: c["name"] for c in dataset["categories"]}
    return {
        "images": len(dataset["images"]),
        "instances": len(real),
        "keypoints": sum(posed) / len(posed) if posed else None,
        "categories": Counter(names[a["category_id"]] for a in real).most_common(),
        "skipped": dataset["info"].get("skipped") or [],
    }


def instances(dataset: Mapping[str, Any]) -> int:
    """Annotations that are no crowd regions."""
    return sum(not a.get("iscrowd") for a in dataset["annotations"])


def pretty(value: Any) -> str:
    """JSON for people."""
    return json.dumps(value, indent=2, ensure_ascii=False)
