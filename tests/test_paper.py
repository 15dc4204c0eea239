"""The paper's experiments: coco.yaml and coco_mini.yaml are one study. All of its targets can be planned; all
are made, in a reduced form."""

import copy
import json
import re
from collections import Counter

import pandas as pd
import pytest
import yaml

from distill.files import read_json
from distill.study.needs import needs
from distill.study.resolve import resolve
from helpers import ROOT
from helpers.workflow import lay_out, succeed

TARGETS = ["table_1a", "table_1b", "table_1c", "table_2", "table_3", "table_4a", "table_4b"]
TARGETS += ["figure_5", "figure_6", "table_strong"]
CONFIGS = {name: yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("coco", "coco_mini")}


@pytest.fixture(scope="module")
def studies():
    return {name: resolve(config, ROOT) for name, config in CONFIGS.items()}


def skeleton(study):
    """Who is trained on what, who labels what, and what is compared: all but sizes and lengths."""
    return {
        "models": {n: (m["task"], m["labelled"], m["labels"]) for n, m in study["models"].items()},
        "labels": {n: (e["teacher"], e["dataset"], e["views"]) for n, e in study["labels"].items()},
        "tables": {
            name: (
                [(row["name"], row["model"], row["views"], row.get("x")) for row in table["rows"]],
                {row: gain["over"] for row, gain in table["gains"].items()},
                table.get("plot"),
                table.get("gap"),
            )
            for name, table in study["tables"].items()
        },
        "selected": study["selected"],
        "on": study["evaluate"]["on"],
    }


def test_both_are_the_same_study(studies):
    assert list(studies["coco"]["tables"]) == TARGETS
    assert skeleton(studies["coco"]) == skeleton(studies["coco_mini"])


def test_nothing_is_made_in_vain_or_twice(studies):
    """Every model and label set is needed by a table, and no two are the same."""
    study = studies["coco"]
    needed = needs(study, [row for table in study["tables"].values() for row in table["rows"]]).trainings
    assert needed == set(study["models"])
    assert {model["labels"] for model in study["models"].values()} - {None} == set(study["labels"])
    for entries in (study["models"], study["labels"]):
        contents = [json.dumps(entry, sort_keys=True) for entry in entries.values()]
        assert len(set(contents)) == len(contents)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_amount_of_data_decides_the_ratio_and_the_iterations(studies, name):
    study = studies[name]
    supervised = study["models"]["r50"]["iterations"]
    for row in study["tables"]["figure_5"]["rows"][1:]:
        model = study["models"][row["model"]]
        dataset = study["datasets"][study["labels"][model["labels"]]["dataset"]]
        assert dataset.get("fraction", 1) == row["x"]
        assert model["ratio"] == [1, row["x"]]
        assert model["iterations"] == (1 + row["x"]) * supervised


def test_lengths_and_views_are_the_papers(studies):
    study = studies["coco"]
    papers = [m for name, m in study["models"].items() if not name.startswith("strong-")]
    lengths = Counter((bool(m["labels"]), m["iterations"]) for m in papers)
    assert lengths[False, 130000] == 9
    assert lengths[True, 360000] == 16
    assert all(m["batch"] == 16 and m["lr"] == 0.02 for m in study["models"].values())
    assert len(study["views"]["all"]) == 18
    assert set(study["views"]["plain"]) < set(study["views"]["all"])


def test_keypoints_are_trained_and_read_as_in_detectron(studies):
    """docs/paper.md has the sources."""
    study = studies["coco"]
    assert all(merged["options"]["upsample"] for merged in study["merged"].values())
    assert {m["unposed"] for m in study["models"].values() if m["task"] == "keypoints"} == {"drop"}
    assert {study["datasets"][name]["keypoint_origin"] for name in ("train", "val")} == {"centre"}


def test_the_strong_recipe_is_for_what_is_beyond_the_paper(studies):
    for name, model in studies["coco"]["models"].items():
        strong = {"labelled": "weak", "generated": "strong"} if model["labels"] else {"labelled": "weak"}
        assert model["augment"] == (strong if name.startswith("strong-") else "none")


@pytest.mark.parametrize(
    ("name", "targets"), [("coco", TARGETS), ("coco_mini", TARGETS), ("coco_mini", ["figure_5"])]
)
def test_all_targets_can_be_planned_and_are_as_many_jobs_as_counted(studies, name, targets):
    """Also without any of COCO's files."""
    planned = succeed(
        ROOT, "-n", "--nolock", "--quiet", "rules", "--", *targets, config=f"config/{name}.yaml"
    )
    jobs = {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", planned, re.M)}
    study = studies[name]
    counted = needs(study, [row for target in targets for row in study["tables"][target]["rows"]])
    assert all(jobs[target] == 1 for target in targets)
    assert jobs["train_teacher"] + jobs["retrain_student"] == len(counted.trainings)
    predicting = sum(count for rule, count in jobs.items() if rule.startswith(("detect_boxes", "infer_view")))
    assert predicting == len(counted.predictions) * study["shards"]
    assert not any("archive" in rule or rule.startswith("extract") for rule in jobs)


LEFT_OUT = re.compile("101|strong-co-(1|99|5|95)$")


def reduced(config):
    """Hardly trained, on hardly any images, with one network and one share of the labels beyond the paper's
    experiments: what is tested is the way."""
    config = copy.deepcopy(config)
    config |= {"results": "out", "device": "cpu", "fixed_boxes": {"min_score": 0.0, "per_image": 3}}
    config["evaluate"] = {"on": config["evaluate"][True]}  # YAML's `on`
    config["model"] |= {"batch": 2, "scales": [64], "amp": False}
    for model in [config["model"], *config["models"].values()]:
        if "iterations" in model:
            model["iterations"] = 2
    config["views"] = {"plain": [{"scale": 64}], "all": {"scales": [64], "flip": True}}
    for table in config["tables"].values():
        table["rows"] = [row for row in table["rows"] if not LEFT_OUT.search(row["model"])]
        names = {row["name"] for row in table["rows"]}
        table["gains"] = {row: gain for row, gain in table.get("gains", {}).items() if row in names}
    images = {"val": 4, "unlabeled": 8, "sketches": 4, "co-115": 8, "co-80": 4}
    for name, count in images.items():
        config["datasets"][name]["images"] = count
    return config


SMALL = reduced(CONFIGS["coco_mini"])


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All targets, by the real programs."""
    folder = tmp_path_factory.mktemp("paper")
    lay_out(folder, SMALL, warmed=True)
    succeed(folder, "--cores", "2", "--show-failed-logs", *TARGETS)
    return folder


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_makes_its_table_and_pictures(done, target):
    rows = resolve(SMALL, ROOT)["tables"][target]["rows"]
    table = pd.read_csv(done / f"out/tables/{target}.csv")
    assert table["row"].tolist() == [row["name"] for row in rows]
    measured = [read_json(done / row["evaluations"][0])["AP"] for row in rows]
    assert table["AP"].tolist() == pytest.approx([100 * ap for ap in measured])
    assert f"| {rows[-1]['name']} |" in (done / f"out/tables/{target}.md").read_text()
    for plot in [f"training/{target}"] + [target] * target.startswith("figure"):
        assert (done / f"out/plots/{plot}.png").read_bytes().startswith(b"\x89PNG")
        assert b"</svg>" in (done / f"out/plots/{plot}.svg").read_bytes()


def test_fractions_of_the_unlabelled_images_share_predictions(done):
    assert {path.name for path in (done / "out/predictions/r50").iterdir()} == {"un-120", "s1m-180", "val"}
    whole = read_json(done / "out/labels/un-120-by-r50/annotations.json")
    seen = {image["id"] for image in whole["images"]}
    for name, count in (("most", 6), ("half", 4), ("quarter", 2)):
        labels = read_json(done / f"out/labels/un-120-{name}-by-r50/annotations.json")
        images = {image["id"] for image in labels["images"]}
        assert len(images) == count
        assert images < seen
        assert {a["image_id"] for a in labels["annotations"]} <= images
        seen = images
    assert whole["annotations"]
