"""Labels in the order of a list, and a second round: what a person has seen becomes labelled."""

from pathlib import Path

import pytest

from distill.files import read_json, write_json
from distill.labels.corrections import corrected
from distill.labels.exchange import to_cvat, to_label_studio
from distill.labels.listed import read_next, read_review
from distill.labels.order import in_order
from distill.program import UserError
from distill.study.resolve import resolve
from helpers import ROOT, warm
from helpers.options import build


@pytest.fixture(scope="module")
def lists(labels_path: Path):
    return read_review(labels_path.parent / "review.csv"), read_next(labels_path.parent / "next.csv")


def test_images_come_in_the_order_of_the_list_with_their_doubt(labels, lists):
    review, following = lists
    ordered = in_order(labels, review, None, 5)
    first = review["image_id"].drop_duplicates()[:5].tolist()
    assert [image["id"] for image in ordered["images"]] == first
    assert {a["image_id"] for a in ordered["annotations"]} <= set(first)
    doubt = review[review["kind"] == "label"].set_index("label")["doubt"]
    assert all(a["doubt"] == doubt[a["id"]] for a in ordered["annotations"])
    worst = review.iloc[0]
    assert f"doubt {worst['doubt']:.2f}" in ordered["images"][0]["note"]
    following_first = in_order(labels, review, following, 3)["images"]
    assert [image["id"] for image in following_first] == following["image_id"][:3].tolist()
    assert len(in_order(labels, review, following, None)["images"]) == len(following)
    with pytest.raises(UserError, match="of other labels"):
        in_order({**labels, "images": labels["images"][1:]}, review, following, None)


def test_tools_show_the_doubt(labels, lists):
    ordered = in_order(labels, *lists, 4)
    files = to_cvat(ordered)
    assert all({"name": "doubt"}.items() <= label["attributes"][1].items() for label in files["labels.json"])
    for name in ("instances_default.json", "person_keypoints_default.json"):
        assert all("doubt" in a["attributes"] and "doubt" not in a for a in files[name]["annotations"])
    exported = to_label_studio(ordered, prefix="")
    assert '<Header value="$note"' in exported["interface.xml"]
    for task, image in zip(exported["tasks.json"], ordered["images"], strict=True):
        assert task["data"]["note"] == image["note"]
        boxes = [r for r in task["predictions"][0]["result"] if r["type"] == "rectanglelabels"]
        assert all(box["meta"]["text"][0].startswith("doubt 0.") for box in boxes)
    assert "Header" not in to_label_studio(labels, prefix="")["interface.xml"]


def test_a_second_round_is_correct_and_run_again(labels_path, tmp_path):
    """Out in order, back with only what was seen; joined to the labelled images, not unlabelled any more."""
    out, results = tmp_path / "out", labels_path.parents[2]
    export = [
        "export",
        "fiftyone",
        "--labels",
        labels_path,
        "--output",
        out,
        "--order",
        "review",
        "--images",
        3,
    ]
    done = warm.run("exchange_labels.py", *export)
    assert done.returncode == 0, done.stderr
    answer = read_json(out / "labels.json")
    assert (out / "images.txt").read_text().split() == [image["file_name"] for image in answer["images"]]
    removed = answer["annotations"].pop()
    write_json(tmp_path / "answer.json", answer)
    back = ["import", tmp_path / "answer.json", "--labels", labels_path, "--output", tmp_path / "seen.json"]
    done = warm.run("exchange_labels.py", *back, "--only-seen")
    assert done.returncode == 0, done.stderr
    seen = read_json(tmp_path / "seen.json")
    assert len(seen["images"]) == 3
    assert len(seen["annotations"]) == len(answer["annotations"])
    assert not any("score" in a for a in seen["annotations"])
    assert "as they were" not in done.stderr
    write_json(tmp_path / "answer.json", answer | {"annotations": [*answer["annotations"], removed]})
    done = warm.run("exchange_labels.py", *back, "--only-seen", "--output", tmp_path / "same.json")
    assert "3 of 3 images came back as they were" in done.stderr

    before = read_json(results / "study.json")["datasets"]
    root = read_json(labels_path)["info"]["image_root"]
    config = {
        "results": str(tmp_path / "second"),
        "model": "keypoint_rcnn_tiny",
        "datasets": {
            **before,
            "corrected": {"kind": "coco", "images": root, "annotations": str(tmp_path / "seen.json")},
            "unlabelled": {**before["unlabelled"], "exclude": ["labelled", "corrected"]},
        },
        "models": {
            "teacher": {"labelled": ["labelled", "corrected"]},
            "student": {"labelled": ["labelled", "corrected"], "labels": "distilled"},
        },
    }
    study = resolve(config, ROOT)
    assert (
        study["models"]["teacher"]["labelled"]
        == study["labels"]["distilled"]["labelled"]
        == "labelled+corrected"
    )
    built = {}
    for name in ("all", "labelled", "corrected", "unlabelled", "labelled+corrected"):
        built[name] = build(name, study["datasets"][name], built)
    counts = {name: len(dataset["images"]) for name, dataset in built.items()}
    assert counts["labelled+corrected"] == counts["labelled"] + 3
    assert counts["unlabelled"] == len(read_json(labels_path)["images"]) - 3
    mine = {i["id"]: i["file_name"] for i in built["labelled+corrected"]["images"]}
    taught = [mine[a["image_id"]] for a in built["labelled+corrected"]["annotations"]]
    assert sum(name in {i["file_name"] for i in seen["images"]} for name in taught) == len(
        seen["annotations"]
    )
    assert removed["id"] not in [a["id"] for a in answer["annotations"]]


@pytest.mark.parametrize("only_seen", [False, True])
def test_what_an_earlier_round_has_seen_stays_seen(labels, only_seen):
    names = [image["file_name"] for image in labels["images"]]
    first, second = (
        {"images": [{"id": 1, "file_name": name}], "annotations": [], "categories": []} for name in names[:2]
    )
    once = corrected(labels, {"1.json": first})
    twice = corrected(once, {"2.json": second}, only_seen)
    assert twice["info"]["seen"] == sorted(names[:2])
    assert [i["file_name"] for i in twice["images"]] == (names[:2] if only_seen else names)
    again = corrected(twice, {"1.json": first}, only_seen)
    assert again["info"]["seen"] == sorted(names[:2])
