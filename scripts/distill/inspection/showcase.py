"""What a finished study does, in nine pictures: a teacher's labels, and what its student makes of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from distill.datasets.coco import Coco, Record, by_image
from distill.files import read_json
from distill.inspection.panels import draw, pixels_of, show
from distill.program import UserError
from distill.report.artifacts import Results
from distill.report.comparison import Shown, differences
from distill.report.drawing import colour_of
from distill.report.wording import signed
from distill.study.types import Study

Panels = Mapping[str, Sequence[Record]]  # title → records


def labels_and_student(study: Study, results: Path) -> Figure:
    """Three rows, of the study's first label set and the first student that learnt from it.

    The unlabelled image whose labels have the middle one of all mean scores: bare, labelled, and with the
    labels that were hidden, if any were. Teacher, student and truth on the annotated validation image on
    which the student gains most, and on that on which it loses most (or gains least), by the agreement of
    `comparison`; as many instances as truth has in all. Without a teacher, where other programs predicted, on
    those on which the student agrees with truth most and least. Raises UserError without a student, or where
    artifacts are missing.
    """
    found = Results(study, results)
    labels = next(iter(found.shown_labels.values()), None)
    student = found.student(labels) if labels else None
    if not (labels and student):
        raise UserError("a study without a student of generated labels has no picture; leave out --image")
    if (generated := found.generated(labels)) is None:
        raise UserError(f"{results / 'labels' / labels / 'annotations.json'}: no such file")
    validation = study["models"][student]["validation"]
    truth = read_json(results / "datasets" / f"{validation}.json")
    name = study["labels"][labels].get("teacher")
    teacher, learnt = (
        Shown.of(results / "merged" / model / validation / f"{found.test_views}.json", truth)
        if model
        else Shown({}, 0.0)
        for model in (name, student)
    )
    real = by_image(truth["annotations"])
    changes = [
        (image, change) for image, change in differences(truth, teacher, learnt) if image["id"] in real
    ]
    if not changes:
        raise UserError(f"{validation} has no annotation, so there is no picture; leave out --image")
    middling = _labelled(generated, found.hidden(labels, generated["categories"]))
    rows: list[tuple[str, Coco, Record, Panels]] = [("middling scores", generated, *middling)]
    for image, change in (changes[0], changes[-1]):
        panels = {"teacher": teacher.drawn(image["id"])} if name else {}
        panels["student"] = learnt.drawn(image["id"])
        panels["truth"] = real[image["id"]]
        rows.append((f"student {signed(change, 2)}", truth, image, panels))
    figure = _drawn(rows, generated["categories"])
    better, worse = (sum(sign * change > 0 for _, change in changes) for sign in (1, -1))
    of = f"of {len(changes)} validation images that show anything"
    if name:
        figure.suptitle(f"the student is better on {better}, worse on {worse} {of}", fontsize=10)
    return figure


def _labelled(generated: Coco, hidden: Coco | None) -> tuple[Record, Panels]:
    """The image of middling labels, and its records by the name of what they are."""
    found = by_image(generated["annotations"])
    if not found:
        raise UserError("no label was generated, so there is no picture; leave out --image")
    ranked = sorted(found, key=lambda i: (np.mean([label["score"] for label in found[i]]), i))
    image = next(image for image in generated["images"] if image["id"] == ranked[len(ranked) // 2])
    panels = {"unlabelled": [], "generated labels": found[image["id"]]}
    if hidden:
        panels["hidden labels"] = by_image(hidden["annotations"]).get(image["id"], [])
    return image, panels


def _drawn(rows: Sequence[tuple[str, Coco, Record, Panels]], categories: list[Record]) -> Figure:
    """Rows of (name, dataset, image, records by the title of their panel)."""
    figure = Figure(figsize=(8, 2.25 * len(rows)), layout="constrained")
    known, colours = {category["id"]: category for category in categories}, colour_of(categories)
    for line, (name, coco, image, panels) in zip(figure.subplots(len(rows), 3), rows, strict=True):
        pixels = pixels_of(coco, image)
        for axes, (title, records) in zip(line, panels.items(), strict=False):
            show(axes, pixels)
            axes.set_title(title, fontsize=9)
            for record in records:
                draw(axes, record, known[record["category_id"]], colours[record["category_id"]], named=False)
        for axes in line[len(panels) :]:
            axes.set_axis_off()
        where = {"transform": line[0].transAxes, "rotation": 90, "ha": "right", "va": "center"}
        line[0].text(-0.03, 0.5, name, fontsize=9, **where)
    return figure
