"""Sections of the report whose numbers are known: hidden labels, evaluations under views, times, counts."""

import re
import shutil
from types import SimpleNamespace

import pytest

from distill.files import read_json, write_json
from distill.inspection.pictures import picture
from distill.labels.calibrate import calibrate
from distill.labels.generate import generate
from distill.report import charts, evaluation_charts
from distill.report.chain import chains
from distill.report.hidden import audit, hidden_truth, match_boxes
from distill.report.page import Report
from helpers import studied
from helpers.options import calibrate_options

CELL, PERSON = {"id": 4, "name": "cell"}, {"id": 9, "name": "person", "keypoints": ["a", "b"]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return studied.make(tmp_path_factory.mktemp("studied"))


def instance(image: int, x: float, category: int = 4, **more) -> dict:
    return {"image_id": image, "category_id": category, "bbox": [x, 0.0, 10.0, 10.0], "area": 100.0, **more}


def thresholds(instances: float | None, keypoints: float | None = None) -> dict:
    known = {str(c["id"]): {"threshold": instances} for c in (CELL, PERSON)}
    return {"instances": known, "keypoints": keypoints and {"threshold": keypoints}}


def test_labels_are_counted_against_the_hidden_ones():
    images = [{"id": 1}, {"id": 2}]
    hidden = [
        instance(1, 0),
        instance(1, 50),
        instance(2, 0),
        instance(2, 100, iscrowd=1, bbox=[100, 0, 90, 90]),
    ]
    truth = {"images": images, "annotations": hidden, "categories": [CELL, PERSON]}
    found = [
        instance(1, 1, score=0.9),  # right
        instance(1, 2, score=0.8),  # a duplicate
        instance(1, 50, score=0.3),  # right, but below the threshold
        instance(2, 0, 9, score=0.7),  # of another category
        instance(2, 120, score=0.6),  # in a crowd: does not count
        instance(3, 0, score=0.99),  # nothing is known about image 3
    ]
    result = audit(found, thresholds(0.5), truth)
    assert result["images"] == 2
    every, cell, person = result["rows"]
    assert (cell["generated"], cell["true"], cell["found"]) == (2, 3, 1)
    assert (cell["precision"], cell["recall"]) == (1 / 2, 1 / 3)
    assert (person["generated"], person["precision"], person["recall"]) == (1, 0, None)
    assert (every["generated"], every["true"], every["found"]) == (3, 3, 1)
    recall, precision = result["curve"]
    assert recall.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3])
    assert precision.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 2])
    nothing = audit(found, thresholds(None), truth)["rows"][0]
    assert (nothing["generated"], nothing["precision"], nothing["recall"]) == (0, None, 0)


def test_the_labels_that_are_counted_are_those_that_there_are(study, tmp_path):
    """Not what a better candidate of another category suppressed."""
    results = shutil.copytree(study[1], tmp_path / "results")
    merged, labels = results / "merged/teacher/unlabelled/all.json", results / "labels/distilled"
    datasets = [read_json(results / f"datasets/{name}.json") for name in ("unlabelled", "labelled")]
    found = calibrate(merged, *datasets, calibrate_options(instances=None, agnostic_nms=0.05))
    write_json(labels / "thresholds.json", found)
    generate(merged, *datasets, found, labels / "annotations.json")
    (audited,) = Report(study[0], results).audits()
    written = len(read_json(labels / "annotations.json")["annotations"])
    assert audited["rows"][0]["generated"] == written < len(read_json(merged))


def test_keypoints_are_right_where_they_are_near():
    real = instance(1, 0, 9, keypoints=[2, 2, 2, 8, 8, 1])
    truth = {"images": [{"id": 1}], "annotations": [real], "categories": [PERSON]}
    for a, b, expected in (
        *(((2, 2, 0.9), (8, 8, 0.9), (2, 2, 2)), ((2, 2, 0.9), (8, 8, 0.1), (1, 2, 1))),
        ((8, 8, 0.9), (2, 2, 0.9), (2, 2, 0)),
    ):
        found = instance(1, 0, 9, score=0.9, keypoints=[*a, *b])
        row = audit([found], thresholds(0.5, keypoints=0.5), truth)["rows"][-1]
        assert (row["generated"], row["true"], row["found"]) == expected


def test_a_box_finds_the_free_instance_that_it_overlaps_most():
    real = [instance(1, 0), instance(1, 4)]
    assert match_boxes([instance(1, 3), instance(1, 3.5), instance(1, 3)], real) == [1, None, 0]
    assert match_boxes([instance(1, 3), instance(1, 1)], real) == [1, 0]
    assert match_boxes([instance(1, 3)], []) == [None]


def test_hidden_keypoints_are_those_of_the_same_names():
    """A source that names its keypoints otherwise than the labelled images do."""
    theirs = {"id": 7, "name": "cell", "keypoints": ["tip", "root"]}
    annotation = instance(0, 0, 7) | {"keypoints": [1, 2, 2, 3, 4, 1], "num_keypoints": 2}
    source = {"images": [{"id": 0, "hash": "h"}], "annotations": [annotation], "categories": [theirs]}
    datasets = {"all": source, "hidden": {"images": source["images"], "annotations": [], "categories": []}}
    for names, expected, count in (
        (["tip", "root"], [1, 2, 2, 3, 4, 1], 2),
        (["root", "middle", "tip"], [3, 4, 1, 0, 0, 0, 1, 2, 2], 2),
        (["middle"], [0, 0, 0], 0),
    ):
        ours = CELL | {"keypoints": names}
        [found] = hidden_truth("hidden", {"hidden": {"of": "all"}}, datasets.get, [ours])["annotations"]
        assert (found["keypoints"], found["num_keypoints"]) == (expected, count)


def test_hidden_labels_are_found_through_what_a_dataset_is_made_of():
    images = [{"id": i, "hash": f"h{i}"} for i in range(4)]
    source = {"images": images, "annotations": [instance(1, 0, 7), instance(3, 0, 8)]}
    source["categories"] = [{"id": 7, "name": "cell"}, {"id": 8, "name": "other"}]
    plain = {"annotations": [], "categories": []}
    datasets = {
        "all": source,
        "hidden": plain | {"images": images[1:]},
        "pile": plain | {"images": [{"id": 1, "hash": "x"}]},
        "both": plain
        | {"images": [{"id": 50 + i, "hash": f"h{i}"} for i in (1, 3)] + [{"id": 60, "hash": "x"}]},
    }
    specs = {"hidden": {"of": "all"}, "both": {"of": ["hidden", "pile"]}}
    truth = hidden_truth("both", specs, datasets.get, [CELL])
    assert [image["id"] for image in truth["images"]] == [51, 53]
    assert [(a["image_id"], a["category_id"]) for a in truth["annotations"]] == [(51, 4)]  # by the name
    assert hidden_truth("pile", specs, datasets.get, [CELL]) is None


def test_the_page_has_every_section(study):
    page = Report(*study).render()
    assert set(re.findall(r'<h2[^>]*id="(\w+)"', page)) == {
        *(
            "chain",
            "results",
            "labels",
            "review",
            "hidden",
            "comparison",
            "calibration",
            "training",
            "data",
            "provenance",
        )
    }
    for chart in (
        *("AP by number of views", "training loss"),
        *("precision at OKS 0.5", "AP under a single view", "AP of growing view sets"),
        *("instances per image, share of images", "keypoints per image, share of images"),
        "precision against the hidden labels",
    ):
        assert chart in page
    assert page.count("Histogram of the scores of") == 3  # two categories and the keypoints


def test_the_page_says_what_was_repaired_and_what_looks_alike(tmp_path):
    """Of a dataset, too, that others are made of."""
    study, results = studied.make(tmp_path)
    path = results / "datasets/all.json"
    dataset = read_json(path)
    dataset["info"]["repaired"] = {"boxes over the image's edge clipped": 3}
    write_json(path, dataset)
    pair = {"validation": "images/19.png", "training": "images/0.png", "bits": 7}
    check = {"validation": {"val": 6}, "training": {"labelled": 6}, "shared": 0}
    page = Report(study, results).render()
    assert "Repaired in the annotations of all: 3 boxes over the image&#39;s edge clipped." in page
    assert "look alike" not in page
    check["alike"] = {"count": 1, "pairs": [pair]}
    write_json(results / "datasets/splits/val/labelled.json", check)
    page = Report(study, results).render()
    assert "1 pair of images of val, for testing, and labelled, for training, look alike" in page
    assert "images/19.png  images/0.png" in page


def test_the_page_says_which_categories_nothing_could_be_learned_of(tmp_path):
    study, results = studied.make(tmp_path)
    check = {"validation": {"val": 6}, "training": {"labelled": 6}, "shared": 0, "unlearnt": ["emu", "yak"]}
    write_json(results / "datasets/splits/val/labelled.json", check)
    write_json(results / "datasets/splits/val/unlabelled.json", check | {"unlearnt": []})  # it has no labels
    page = " ".join(Report(study, results).render().split())
    assert "AP on val is a mean over 2 categories too of which teacher, student" in page
    assert "had no object to learn from: emu, yak." in page


def test_tables_have_bars_of_ap(study):
    (table,) = Report(*study).tables()
    at = table["columns"].index("AP")
    aps = [float(row["cells"][at].split()[0]) for row in table["rows"]]
    assert [row["bar"] for row in table["rows"]] == pytest.approx([ap / max(aps) for ap in aps], abs=0.01)
    assert table["notes"][0].startswith("Percent")


def test_a_table_without_ap_has_no_bars(study):
    resolved, results = study
    spec = resolved["tables"]["main"] | {"metrics": ["AP50"], "gains": {}, "gap": None, "plot": None}
    (table,) = Report(resolved | {"tables": {"main": spec}}, results).tables()
    assert {row["bar"] for row in table["rows"]} == {0}


def test_stages_have_their_times(study):
    labels = next(card for card in chains(Report(*study))[0] if card["role"] == "generated labels")
    assert "predicted in 1 h 2 min" in labels["lines"]  # all views and shards together
    assert "merged in 5 s" in labels["lines"]


def test_views_are_charted_where_they_were_evaluated(study):
    resolved, results = study
    both = "".join(evaluation_charts.view_charts(Report(resolved, results)))
    assert "s0080" in both
    assert "AP of growing view sets" in both
    fewer = resolved | {"views": {"plain": ["s0096"], "all": ["s0080", "s0096", "s0096-flip"]}}
    assert evaluation_charts.view_charts(Report(fewer, results)) == []


def test_categories_that_differ_most_are_shown_of_very_many():
    first = {f"category {i}": 0.5 for i in range(80)}
    last = {name: 0.5 + 0.001 * i for i, name in enumerate(first)}
    shown = {"teacher": [{"per_category": first}], "student": [{"per_category": last}]}
    (chart,) = evaluation_charts.per_category(shown)
    assert "the 40 of 80 that differ most" in chart
    assert "category 79<" in chart
    assert "category 39<" not in chart


def test_of_very_many_rows_the_first_and_the_last_have_colours_of_their_own():
    curves = {"0.5": [0.5] * 101, "0.75": [0.2] * 101}
    evaluation = {"task": "boxes", "precision": curves, "per_category": {"cat": 0.1, "dog": 0.2}}
    results = SimpleNamespace(evaluations=lambda model, views: [evaluation])
    rows = [{"name": f"row{n}", "models": [f"row{n}"], "views": "plain"} for n in range(11)]
    *curves, bars = evaluation_charts.table_charts(results, {"rows": rows})
    assert len(curves) == 2
    for chart in curves:
        assert "the first and the last 7 of 11 rows" in chart
        assert [f"row{n}<" in chart for n in range(11)] == [True] + [False] * 3 + [True] * 7
    drawn = [colour for colour in charts.LINES if f"fill: {colour}" in bars]
    assert len(drawn) == 4
    assert all(f"row{n}<" in bars for n in (0, 8, 9, 10))


def test_evaluations_without_curves_are_no_error(study, tmp_path):
    """Of nothing but AP."""
    resolved, results = study
    for path in (results / "evaluation").rglob("*.json"):
        studied.write_evaluation(tmp_path / path.relative_to(results), read_json(path)["AP"])
    assert evaluation_charts.table_charts(Report(resolved, tmp_path), resolved["tables"]["main"]) == []


def test_labels_of_other_programs_have_no_teacher(tmp_path):
    """The chain, hidden labels and galleries are shown; what compares with a teacher is not."""
    study, results = studied.make(tmp_path)
    entry = study["labels"]["distilled"]
    for key in ("teacher", "together", "views", "merged"):
        del entry[key]
    entry |= {"teachers": [], "predictions": ["there/yolo.json", "<b>detr.json"], "posed": True}
    merged = results / "merged/teacher/unlabelled"
    shutil.move(merged / "all.json", results / "labels/distilled/predictions.json")
    write_json(results / "study.json", study)
    report = Report(study, results)
    (cards,) = chains(report)
    assert [card["role"] for card in cards] == [
        *(
            "labelled images",
            "unlabelled images",
            "other programs' predictions",
            "generated labels",
            "student",
        )
    ]
    assert (cards[2]["value"], cards[2]["lines"]) == ("2", ["yolo.json", "<b>detr.json"])
    assert [name for name, _ in report.headline()["others"]] == [
        "a model of labelled images alone, trained as long,"
    ]
    assert report.comparisons() == []
    assert report.audits()[0]["rows"][0]["generated"] == report.galleries()[0]["labels"] > 0
    assert "&lt;b&gt;detr.json" in report.render()
    assert len(picture(results / "study.json").axes) == 9
