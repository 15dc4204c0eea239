"""What to look at first: planted doubt is found, known numbers come out, and lists are read as they were."""

import numpy as np
import pandas as pd
import pytest

from distill.files import read_json, write_json
from distill.labels.calibrate import calibrate
from distill.labels.candidates import candidates
from distill.labels.generate import generate
from distill.labels.listed import read_next, read_review
from distill.labels.next_images import next_images
from distill.labels.review import doubts, worst_first
from distill.program import UserError
from distill.report.hidden_review import audit_review
from helpers import warm
from helpers.doubted import ALIKE, ARROW, CELL, IMAGES, UNLABELLED, arrow, cell, doubted, prints
from helpers.options import calibrate_options


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def test_doubt_follows_the_mean_over_views_against_what_is_usual(tmp_path):
    means = (0.8, 0.7, 0.2)  # of labels with the same score; then of what is below the threshold
    records = [cell(1, 50 * i, 0.8, mean) for i, mean in enumerate(means)]
    table = doubted(tmp_path, [*records, cell(1, 200, 0.4, 0.35)])
    assert table["kind"].tolist() == ["label"] * 3 + ["missed"]
    assert table["label"].tolist() == [1, 2, 3, 0]
    expected = [sigmoid(-5 * np.log(mean / 0.7) - 2.25) for mean in means]
    assert table["doubt"].tolist() == pytest.approx([*expected, sigmoid(2 * np.log(0.35 / 0.7) + 1.2)])


def test_a_rare_category_is_held_against_the_labels_of_all(tmp_path):
    others = [cell(1, 50 * i, 0.8, 0.8) for i in range(6)]
    rare = [arrow(2, 50 * i, 0.8, (2.0, 2.0, 2.0)) | {"agreement": {"score": mean, "entropy": [2.0] * 3}}
            for i, mean in enumerate((0.8, 0.1))]  # fmt: skip
    first, second = (doubted(tmp_path, [*others, one], [CELL, ARROW])["doubt"].iloc[-1] for one in rare)
    assert first < 0.2 < 0.9 < second


def test_where_views_were_not_compared_the_score_counts(tmp_path):
    scores = [0.9, 0.6, 0.5, 0.49]
    table = doubted(tmp_path, [cell(1, 50 * i, score) for i, score in enumerate(scores)])
    expected = [sigmoid(-5 * np.log(score / 0.6) - 2.25) for score in scores[:3]]
    assert table["doubt"].tolist() == pytest.approx([*expected, sigmoid(2 * np.log(0.49 / 0.6) + 1.2)])


def test_without_labels_of_the_category_its_threshold_counts(tmp_path):
    table = doubted(tmp_path, [cell(1, 0, 0.4)])
    assert table["kind"].tolist() == ["missed"]
    assert table["doubt"].tolist() == pytest.approx([sigmoid(2 * np.log(0.4 / 0.5) + 1.2)])


@pytest.mark.parametrize(("labels", "known"), [(4, False), (7, True)])
def test_boxes_unlike_the_others_are_doubted_where_there_are_others(tmp_path, labels, known):
    rng = np.random.default_rng(2)
    sides = np.exp(rng.normal(3, 0.2, (labels, 2)))
    sides[-1] = 90, 8
    records = [cell(1, 50 * i, 0.8, bbox=[50.0 * i, 0, *wh]) for i, wh in enumerate(sides.tolist())]
    table = doubted(tmp_path, records)
    size, shape = np.log(sides).mean(axis=1), np.log(sides[:, 0] / sides[:, 1])
    odd = np.zeros(labels)
    for value in (size, shape):
        apart = np.abs(value - np.median(value))
        odd += np.minimum(apart / max(np.median(apart), 0.1), 6)
    expected = sigmoid(5 * 0.06 * odd - 2.25) if known else np.full(labels, sigmoid(-2.25))
    assert table["doubt"].to_numpy() == pytest.approx(expected)
    assert not known or table["doubt"].argmax() == labels - 1


def test_spread_keypoints_are_doubted_and_the_worst_is_named(tmp_path):
    records = [
        arrow(1, 0, 0.8, (1.0, 2.0, 9.0)),  # the third one is not visible
        arrow(1, 50, 0.8, (2.0, 2.5, 0.0)),
        arrow(1, 100, 0.8, (5.0, 4.0, 0.0)),
    ]
    table = doubted(tmp_path, records, [CELL, ARROW])
    assert table["doubt"].is_monotonic_increasing
    assert table["entropy"].tolist() == [1.5, 2.25, 4.5]
    rows = worst_first(table, UNLABELLED, [CELL, ARROW])
    assert rows["keypoint"].tolist() == ["tip", "left", "left"]
    assert rows["spread"].tolist() == [1.0, 2.0, 2.0]
    assert rows["label"].tolist() == [3, 2, 1]


def test_what_a_label_covers_or_what_is_far_below_is_not_missed(tmp_path):
    records = [
        cell(1, 0, 0.9),
        cell(1, 3, 0.45),  # another one of the same
        cell(1, 2, 0.45, category_id=9, keypoints=[0.0] * 9),  # of another category
        cell(1, 60, 0.2),
        cell(2, 0, 0.45),  # in another image
    ]
    table = doubted(tmp_path, records, [CELL, ARROW])
    assert list(zip(table["kind"], table["image_id"], strict=True)) == [("label", 1), ("missed", 2)]


@pytest.mark.parametrize("ignore", [None, 1.5])
def test_the_labels_are_those_that_are_written(tmp_path, ignore):
    rng = np.random.default_rng(3)
    found = [
        cell(int(rng.integers(1, 7)), float(rng.uniform(0, 380)), float(rng.uniform(0, 1))) for _ in range(60)
    ]
    found = [{**record, "category_id": int(rng.choice([4, 9]))} for record in found]
    categories = [CELL, {"id": 9, "name": "disc"}]
    labelled = {"images": IMAGES[:2], "categories": categories}
    labelled["annotations"] = [{"image_id": 1, "category_id": c, "bbox": [0, 0, 9, 9]} for c in (4, 4, 9, 9)]
    write_json(tmp_path / "merged.json", found)
    aim = calibrate_options(agnostic_nms=0.5, ignore=ignore)
    limits = calibrate(tmp_path / "merged.json", UNLABELLED, labelled, aim)
    generate(tmp_path / "merged.json", UNLABELLED, labelled, limits, tmp_path / "annotations.json")
    table = doubts(tmp_path / "merged.json", UNLABELLED, categories, limits)
    mine = table[table["kind"] == "label"].set_index("label")
    found = read_json(tmp_path / "annotations.json")["annotations"]
    assert any(a["iscrowd"] for a in found) == bool(ignore)
    written = {a["id"]: a for a in found if not a["iscrowd"]}
    assert set(mine.index) == set(written)
    assert all(
        mine.at[i, "score"] == a["score"] and mine.at[i, "x"] == a["bbox"][0] for i, a in written.items()
    )
    assert len(list(candidates(tmp_path / "merged.json", UNLABELLED, categories, 0.5))) > len(written)


def test_what_is_ignored_says_nothing_of_an_image(tmp_path):
    scores = {1: [0.8], 2: [0.9, 0.1]}  # the last is no label
    labels = {"images": IMAGES[:2], "categories": [CELL]}
    labels["annotations"] = [
        {"id": i, **cell(image, 50.0 * i, score), "area": 400.0, "iscrowd": int(score < 0.5)}
        for i, (image, score) in enumerate(((k, s) for k, found in scores.items() for s in found), 1)
    ]
    write_json(tmp_path / "annotations.json", labels)
    files = ("--labels", tmp_path / "annotations.json", "--output", tmp_path / "list.txt")
    done = warm.run("choose_images.py", *files, "--by", "score", "--images", "1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "list.txt").read_text() == "1.png\n"
    done = warm.run("choose_images.py", *files, "--by", "score", "--images", "3")
    assert "lists 2 images, not 3" in done.stderr
    del labels["annotations"][0]["score"]  # somebody has corrected it
    write_json(tmp_path / "annotations.json", labels)
    done = warm.run("choose_images.py", *files, "--by", "score", "--images", "1")
    assert done.stderr.splitlines()[-1].endswith("annotation 1 has no score; give generated labels")


def test_next_images_are_doubtful_and_not_alike(tmp_path):
    many = [
        cell(i, 40 * n, 0.51) for i in (1, 2) for n in range(4)
    ]  # two images that are alike, most doubtful
    others = [cell(3, 0, 0.52, bbox=[0.0, 0, 200, 200]), cell(4, 0, 0.99)]
    table = doubted(tmp_path, [*many, *others])
    labelled = {"images": [], "annotations": []}
    first = next_images(table, UNLABELLED, labelled, (ALIKE, []))
    assert first["image_id"].tolist()[:2] == [1, 3]  # not 2, which is as doubtful as 1, and the same
    assert first["image_id"].tolist()[-2:] == [5, 6]  # in which nothing is
    assert first["mistakes"][0] == pytest.approx(4 * table["doubt"][0], abs=1e-3)
    assert first.loc[first["image_id"] == 2, "distance"].item() == 0
    known = [{"image_id": 9, "category_id": 4, "bbox": [40 * n, 0, 20, 20]} for n in range(2)]
    labelled = {"images": [{"id": 9}], "annotations": known}
    first = next_images(table, UNLABELLED, labelled, (ALIKE, prints(0)))
    assert first["image_id"].tolist()[0] == 3  # the others are like a labelled one


def test_of_frames_with_an_object_each_the_next_images_do_not_look_alike(tmp_path):
    """All are as doubtful; 1 and 2 are all but the same, 4 is a labelled image, saved anew."""
    table = doubted(
        tmp_path, [cell(i, 0, score) for i, score in ((1, 0.51), (2, 0.51), (3, 0.51), (4, 0.51))]
    )
    labelled = {
        "images": [{"id": 9}],
        "annotations": [{"image_id": 9, "category_id": 4, "bbox": [0, 0, 20, 20]}],
    }
    seen = prints(255, 254, 255 << 120, 255 << 200, 0, 0)
    first = next_images(table, UNLABELLED, labelled, (seen, prints(255 << 200)))
    assert first["image_id"].tolist()[:2] == [1, 3]


def test_an_audit_of_known_mistakes(tmp_path):
    truth = [cell(1, 0, 0), cell(1, 100, 0), cell(2, 0, 0), arrow(2, 200, 0, (0,) * 3)]
    for record in truth:
        record.pop("score")
        record["keypoints"] = [200, 5, 2, 201, 5, 2, 202, 5, 2] if record["category_id"] == 9 else []
    records = [
        cell(1, 1, 0.9, 0.9),  # right
        cell(1, 200, 0.8, 0.1),  # wrong, and few views see it
        cell(1, 101, 0.4, 0.4),  # missed
        cell(2, 100, 0.45, 0.05),  # rightly left out
        cell(2, 1, 0.6, 0.6),  # right, of the lowest score
        arrow(2, 200, 0.9, (1.0,) * 3, points=(0.9,) * 3),
    ]
    categories = [CELL, ARROW]
    table = doubted(tmp_path, records, categories)
    labels = {"annotations": [{**records[n], "id": i} for i, n in enumerate((0, 1, 4, 5), 1)]}
    truth_of = {"images": IMAGES[:2], "annotations": truth, "categories": categories}
    wrong, missed = audit_review(table, labels, truth_of)
    found = tuple(wrong[key] for key in ("count", "found", "doubt", "score"))
    assert found == (4, 1, 1.0, pytest.approx(2 / 3))
    assert (wrong["worst"], wrong["lowest"]) == (1, 0)
    assert (missed["count"], missed["found"], missed["doubt"], missed["score"]) == (2, 1, 1.0, 0.0)
    learned, _ = audit_review(table, labels, truth_of, learn=True)
    assert learned == {**wrong, "learned": None, "learned_worst": None}  # one image has no wrong label
    for start, count in ((219, 4), (195, 3)):  # a crowd that touches the wrong one, and one that holds it
        crowd = [{**truth[0], "bbox": [start, 0, 40, 40], "iscrowd": 1}]
        (wrong, _) = audit_review(table, labels, truth_of | {"annotations": truth + crowd})
        assert wrong["count"] == count
    elsewhere = [300, 5, 2, 301, 5, 2, 302, 5, 2]  # where its box is still right
    labels["annotations"][-1]["keypoints"] = elsewhere
    (wrong, _) = audit_review(table, labels, truth_of)
    assert wrong["found"] == 2
    # On an image in which nothing is:
    (wrong, _) = audit_review(table, labels, truth_of | {"annotations": truth[:2]})
    assert wrong["found"] == 3


def test_the_program_writes_lists_that_are_read_again(tmp_path):
    categories = [{**CELL, "name": "NA"}, ARROW]  # which pandas would take for nothing
    labelled = {"images": IMAGES[:1], "annotations": [], "categories": categories}
    write_json(
        tmp_path / "merged.json", [cell(1, 0, 0.9, 0.5), arrow(2, 50, 0.6, (1.0, 2.0, 3.0)), cell(3, 9, 0.4)]
    )
    write_json(tmp_path / "dataset.json", UNLABELLED)
    write_json(tmp_path / "labelled.json", labelled)
    ones = dict.fromkeys(("aimed", "met", "mean_labelled", "mean_met"), 1)
    entry = {**ones, "candidates": 3, "short": False, "name": "x"}
    limits = {"instances": {k: {"threshold": 0.5, **entry} for k in ("4", "9")}, "images": {}}
    write_json(tmp_path / "thresholds.json", {**limits, "keypoints": None})
    names = ("merged", "dataset", "labelled", "thresholds")
    options = [part for name in names for part in (f"--{name}", tmp_path / f"{name}.json")]
    both = [tmp_path / "prints.json", tmp_path / "none.json"]
    for path, images in zip(both, (IMAGES, labelled["images"]), strict=True):
        write_json(path, {"images": [{"id": i["id"], "pixels": "a", "look": "0" * 64} for i in images]})
    options += ["--output", tmp_path, "--fingerprints"]
    wrong = warm.run("review_labels.py", *options, *both[::-1])
    assert f"{both[1]}: are not the fingerprints of these images" in wrong.stderr
    result = warm.run("review_labels.py", *options, *both)
    assert result.returncode == 0, result.stderr
    review, following = read_review(tmp_path / "review.csv"), read_next(tmp_path / "next.csv")
    assert sorted(review["category"]) == ["NA", "NA", "arrow"]
    assert review["views"].notna().tolist() == (review["score"] == 0.9).tolist()
    assert len(following) == len(IMAGES)
    text = (tmp_path / "review.csv").read_text()
    first = text.splitlines()[1].partition(",")[0]
    without = text.replace(f"\n{first},", "\n,", 1)
    for wrong, why in ((without, ".a number is missing"), ("doubt,kind\nhigh,label\n", "")):
        (tmp_path / "review.csv").write_text(wrong)
        with pytest.raises(UserError, match=f"review.csv: is damaged, or another file {why}"):
            read_review(tmp_path / "review.csv")
    text = (tmp_path / "next.csv").read_text()
    first = text.splitlines()[1].partition(",")[0]
    for wrong, why in (("1.7", "not whole"), ("", "missing"), ("x", "x")):
        (tmp_path / "next.csv").write_text(text.replace(f"\n{first},", f"\n{wrong},", 1))
        with pytest.raises(UserError, match=f"next.csv: is damaged, or another file.*{why}"):
            read_next(tmp_path / "next.csv")


def test_a_file_without_predictions_has_empty_lists(tmp_path):
    table = doubted(tmp_path, [])
    assert len(worst_first(table, UNLABELLED, [CELL])) == 0
    found = next_images(table, UNLABELLED, {"images": [], "annotations": []}, (ALIKE, []))
    assert len(found) == len(IMAGES)
    assert isinstance(table, pd.DataFrame)
