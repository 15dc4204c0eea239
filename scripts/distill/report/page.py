"""The report: one self-contained HTML page from the artifacts of a study.

Everything is read from the results folder; what is not there (no history, no evaluation, an image that has
moved) is left out of the page. Of models and labels that several seeds or folds repeat, pictures show the
first; numbers are means. Deterministic: the same artifacts give the same page.
"""

from array import array
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from distill import ROOT
from distill.datasets.stats import describe
from distill.evaluation import plots, table_text, tables
from distill.evaluation.metrics import read_evaluation
from distill.labels.candidates import candidates
from distill.labels.thresholds import suppression
from distill.report import charts, evaluation_charts
from distill.report.artifacts import Results
from distill.report.chain import chains
from distill.report.comparison import Shown, boxes_alone
from distill.report.drawing import Album
from distill.report.gallery import PICTURES, compared, gallery
from distill.report.hidden import audit
from distill.report.hidden_review import review_rows
from distill.report.review_gallery import review_gallery
from distill.report.wording import duration, number, plural, pretty, signed
from distill.study.lineage import annotated_for, trained_on
from distill.study.schema import with_defaults
from distill.study.types import Study

PANELS = 8  # histograms of categories, at most
PLENTY = 100  # pictures that fit into the album at its usual size
CURVE = 300  # points of a curve, at most


class Report(Results):
    """Gathers the sections of the page."""

    def __init__(self, study: Study, results: Path) -> None:
        super().__init__(study, results)
        pictures = max(PLENTY, PICTURES * len(self.shown_labels))
        self.album = Album(side=int(720 * (PLENTY / pictures) ** 0.5))

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
            repeated=self.repeated,
            unshown=[family for family in self.families(self.labels) if family not in self.shown_labels],
            unlearnt=self.unlearnt(),
            chains=chains(self),
            tables=self.tables(),
            view_charts=evaluation_charts.view_charts(self),
            calibrations=self.calibrations(),
            audits=self.audits(),
            comparisons=self.comparisons(),
            galleries=self.galleries(),
            reviews=self.reviews(),
            curves=self.curves(),
            datasets=self.dataset_rows(),
            repairs=self.repairs(),
            alike=self.alike(),
            runs=self.runs(),
            study=self.study,
            missing=self.album.missing,  # this and the next come last: the sections above fill the album
            image_definitions=self.album.definitions(),
        )

    def headline(self) -> dict[str, Any] | None:
        """AP of the last student, its teachers, its baseline, if that is another model, and, after several
        rounds, the first teacher of all. None unless a student and its teachers were evaluated."""
        for labels, entry in reversed(self.labels.items()):
            if not (student := self.student(labels)):
                continue
            ap = partial(self.ap, task=self.models[student]["task"])
            taught = [members[0] for members in self.families(entry["teachers"]).values()]
            if None in (aps := [ap(student), *map(ap, taught)]):
                continue
            names = ["its teacher"] if len(taught) == 1 else [f"its teacher {self.family(m)}" for m in taught]
            others, firsts = list(zip(names, aps[1:], strict=True)), [self.first_teacher(m) for m in taught]
            if baseline := self.baseline(student, [*taught, *firsts]):
                others.append(("a model of labelled images alone, trained as long,", ap(baseline)))
            if len(taught) == 1 and firsts != taught and (of_first := ap(firsts[0])) is not None:
                others.append(("the first teacher", of_first))
            validation = self.family(self.models[student]["validation"])
            over = self.averaged_over(student)
            return {"student": aps[0], "others": others, "over": over, "validation": validation}
        return None

    def tables(self) -> list[dict[str, Any]]:
        """The tables of the study in its order, of which all rows are evaluated: {name, columns, rows, notes,
        charts}. bar of a row: the AP of a row as a share of the highest."""
        result = []
        for name, spec in self.study["tables"].items():
            paths = dict.fromkeys(path for row in spec["rows"] for path in row["evaluations"])
            read = ((path, self.optional(*Path(path).parts[-4:], read=read_evaluation)) for path in paths)
            if len(found := {path: evaluation for path, evaluation in read if evaluation}) < len(paths):
                continue
            table = tables.build(with_defaults(ROOT, spec, "tables"), found)
            drawn = evaluation_charts.table_charts(self, spec)
            if plotted := spec.get("plot"):
                plot = partial(plots.rows, table=table.frame, options=plotted)
                drawn.insert(0, charts.drawn(plot, f"AP by {plotted['x']}"))
            columns, rows = table_text.as_text(table)
            ap = table.frame.get("AP", pd.Series(0.0, table.frame.index))
            bars = (ap / ap.max()).fillna(0)
            cells = [{"cells": row, "bar": bar} for row, bar in zip(rows, bars, strict=True)]
            below = {"notes": table_text.notes(table), "charts": drawn}
            result.append({"name": name, "columns": columns, "rows": cells, **below})
        return result

    def calibrations(self) -> list[dict[str, Any]]:
        """Of each label set: thresholds with aimed and met counts, histograms of the scores, and how labelled
        and generated instances are spread over the images."""
        result = []
        for family, name in self.shown_labels.items():
            thresholds = self.thresholds(name)
            if thresholds is None:
                continue
            rows = list(thresholds["instances"].values())
            if thresholds["keypoints"]:
                rows.append({"name": "keypoints (mean per instance)", **thresholds["keypoints"]})
            drawn = [*self._histograms(name, thresholds), *self._counts(name)]
            options = self.labels[name]["calibrate"]
            aim = {"instances": options["instances"], "validated": options.get("aim") == "validation"}
            result.append({"name": family, "rows": rows, "charts": drawn, **aim})
        return result

    def _histograms(self, name: str, thresholds: Mapping[str, Any]) -> list[Markup]:
        labels, dataset = self.generated(name), self.dataset(self.labels[name]["dataset"])
        if not (self.merged(name).exists() and dataset and labels):
            return []
        scores: dict[int, array] = {category["id"]: array("d") for category in labels["categories"]}
        for candidate in candidates(
            self.merged(name), dataset, labels["categories"], **suppression(thresholds)
        ):
            scores[candidate["category_id"]].append(candidate["score"])
        most = sorted(scores, key=lambda category: -len(scores[category]))[:PANELS]
        found = thresholds["instances"]
        panels: list[tuple[str, Sequence[float], float | None]] = [
            (found[str(c)]["name"], scores[c], found[str(c)]["threshold"]) for c in most
        ]
        if thresholds["keypoints"]:
            of_points = [s for a in labels["annotations"] for s in a.get("keypoint_scores", ())]
            panels.append(("keypoints of the labels", of_points, thresholds["keypoints"]["threshold"]))
        return [charts.histogram(*panel) for panel in panels]

    def _counts(self, name: str) -> list[Markup]:
        labelled, generated = self.dataset(self.labels[name]["labelled"]), self.generated(name)
        if not (labelled and generated):
            return []
        return evaluation_charts.counts_beside({"labelled": labelled, "generated": generated})

    def audits(self) -> list[dict[str, Any]]:
        """Generated labels against hidden ones, where there are any."""
        result = []
        for family, name in self.shown_labels.items():
            entry, thresholds = self.labels[name], self.thresholds(name)
            labelled, unlabelled = self.dataset(entry["labelled"]), self.dataset(entry["dataset"])
            path = self.merged(name)
            if not (thresholds and labelled and unlabelled and path.exists()):
                continue
            categories = labelled["categories"]
            truth = self.hidden(name, categories)
            if truth is None:
                continue
            every = candidates(path, unlabelled, categories, **suppression(thresholds))
            found = audit(every, thresholds, truth)
            recall, precision = (values[:: max(1, len(values) // CURVE)] for values in found.pop("curve"))
            lines = {"all candidates, by score": (recall, precision)}
            labels = found["rows"][0]
            point = {}
            if labels["generated"] and labels["true"]:
                point["the labels"] = (labels["recall"], labels["precision"])
            title = "precision against the hidden labels"
            chart = charts.curves(lines, title, across="recall", points=point) if len(recall) else None
            result.append({"name": family, "chart": chart, "review": review_rows(self, name), **found})
        return result

    def galleries(self) -> list[dict[str, Any]]:
        """Generated labels drawn on their images."""
        return [
            {"name": family, "predicted": bool(self.labels[name]["teachers"]), **gallery(labels, self.album)}
            for family, name in self.shown_labels.items()
            if (labels := self.generated(name))
        ]

    def reviews(self) -> list[dict[str, Any]]:
        """What to look at first of each label set, as pictures."""
        result = []
        for family, name in self.shown_labels.items():
            labels, listed = self.generated(name), self.listed(name)
            if labels and listed and (groups := review_gallery(labels, *listed, self.album)):
                result.append({"name": family, "folder": f"labels/{name}", "groups": groups})
        return result

    def comparisons(self) -> list[dict[str, Any]]:
        """Teacher, student and ground truth on the validation images where the two models differ most."""
        result = []
        for name in self.shown_labels.values():
            student, teacher = self.student(name), self.labels[name].get("teacher")
            if student is None or teacher is None:
                continue
            pair = self.models[teacher], self.models[student]
            evaluated = [self.evaluation_path(model, self.test_views) for model in (teacher, student)]
            if not all(evaluated) or len({model["validation"] for model in pair}) > 1:
                continue
            truth = self.dataset(pair[1]["validation"])
            paths = [self.results.joinpath("merged", *path) for path in evaluated]
            if truth and all(path.exists() for path in paths):
                if len({model["task"] for model in pair}) > 1:
                    truth = boxes_alone(truth)
                taught, learnt = (Shown.of(path, truth) for path in paths)
                names = {"teacher": self.family(teacher), "student": self.family(student)}
                result.append({**names, **compared(truth, taught, learnt, self.album)})
        return result

    def curves(self) -> list[Markup]:
        """Loss by iteration of all models, and the share of generated images that students have seen."""
        histories = [
            (family, plots.read_history(path))
            for family, members in self.families(self.models).items()
            if (path := self.results / "models" / members[0] / "history.csv").exists()
        ]
        if not histories:
            return []
        result = [charts.drawn(lambda axes: plots.losses(axes, histories), "training loss")]
        share = {
            family: (rows["iteration"], rows["generated"] / (rows["labelled"] + rows["generated"]))
            for family, rows in histories
            if rows["generated"].any()
        }
        if share:
            result.append(charts.curves(share, "generated images, share of all drawn so far"))
        return result

    def dataset_rows(self) -> list[dict[str, Any]]:
        """Counts of every dataset that a model, a label set or an evaluation uses, and what was left out."""
        used = [model["labelled"] for model in self.models.values()]
        used += [entry["dataset"] for entry in self.labels.values()]
        used += [m["labels"] for m in self.models.values() if m["labels"] and m["labels"] not in self.labels]
        used += [model["validation"] for model in self.models.values()]
        kinds = {name: spec["kind"] for name, spec in self.study["datasets"].items()}
        return [
            {
                "name": family,
                **describe(dataset),
                "left_out": dataset["info"].get("skipped") or [],
                "left_out_as": "video" if kinds[members[0]] == "videos" else "image",
            }
            for family, members in self.families(used).items()
            if (dataset := self.dataset(members[0]))
        ]

    def unlearnt(self) -> list[dict[str, Any]]:
        """{validation, names, models} of categories that are tested and that no annotation shows these
        models; of several seeds or folds, of the first."""
        found: dict[tuple[str, ...], list[str]] = {}
        for family, (name, *_) in self.families(self.models).items():
            validation = self.models[name]["validation"]
            checks = [self.split_check(validation, each) for each in annotated_for(self.study, [name])]
            known = [set(names) for check in checks if (names := check.get("unlearnt")) is not None]
            if common := set.intersection(*known) if known else None:
                found.setdefault((self.family(validation), *sorted(common)), []).append(family)
        return [{"validation": key[0], "names": key[1:], "models": models} for key, models in found.items()]

    def alike(self) -> list[dict[str, Any]]:
        """Pairs of images of a validation set and of a training set that look alike, where there are any."""
        result = {}
        for name, model in self.models.items():
            for training in trained_on(self.study, [name]):
                names = (model["validation"], training)
                if alike := self.split_check(*names).get("alike"):
                    result[names] = {"validation": names[0], "training": training, **alike}
        return list(result.values())

    def runs(self) -> list[dict[str, Any]]:
        """Provenance of every model."""
        return [{"name": name, "run": run} for name in self.models if (run := self.run(name))]
