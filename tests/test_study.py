"""Configuration → resolved study: what is filled in."""

import copy
import shutil
import subprocess
import sys

import msgspec
import yaml

from distill.study import reruns
from distill.study.lineage import lineage
from distill.study.resolve import TASKS, resolve, training
from distill.study.types import Study
from helpers import ROOT
from helpers.configs import DRAWN, FOLDED, SMALLEST, study_of


def test_views_that_are_written_are_of_all_models():
    networks = "models: {teacher: {config: faster_rcnn_r50_fpn}, student: {labels: distilled}}"
    views = "views: {mine: [{scale: 200}]}\nevaluate: {views: [mine], on: val}"
    study = study_of(SMALLEST, f"{networks}\n{views}\nlabels: {{distilled: {{views: mine}}}}")
    assert study["views"]["mine"] == ["s0200"]


def test_paths_may_start_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    extra = "{results: ~/out, data: '~', model: {config: faster_rcnn_tiny, init: ~/a.pth}}"
    study = study_of(SMALLEST, extra)
    assert (study["results"], study["models"]["teacher"]["init"]) == ("/home/me/out", "/home/me/a.pth")
    assert study["datasets"]["labelled"]["annotations"] == "/home/me/a.json"


def test_the_smallest_study_is_filled_in():
    study = study_of(SMALLEST)
    teacher, student = study["models"]["teacher"], study["models"]["student"]
    assert (teacher["labels"], student["labels"]) == (None, "distilled")
    assert study["labels"]["distilled"]["teacher"] == "teacher"
    assert study["labels"]["distilled"]["dataset"] == "unlabelled"
    assert study["labels"]["distilled"]["labelled"] == teacher["labelled"] == "labelled"
    assert len(study["views"]["plain"]) == 1 < len(study["views"]["all"])
    assert set(study["views"]["plain"]) <= set(study["views"]["all"]), "the plain view is predicted once only"
    rows = [(row["name"], row["evaluations"]) for row in study["tables"]["results"]["rows"]]
    assert rows == [
        ("teacher", ["results/evaluation/teacher/val/plain.json"]),
        ("teacher (all)", ["results/evaluation/teacher/val/all.json"]),
        ("student", ["results/evaluation/student/val/plain.json"]),
    ]


def test_defaults_follow_the_model_and_are_overridden_from_the_general_to_the_particular():
    tiny, paper = study_of(SMALLEST), study_of(SMALLEST, "model: keypoint_rcnn_r50_fpn")
    assert tiny["models"]["teacher"]["init"] == "none"
    spec = training(paper["models"]["student"])
    assert (spec["batch"], spec["lr"], spec["iterations"], spec["ratio"]) == (16, 0.02, 360000, [6, 4])
    assert (spec["init"], spec["warmup"], spec["milestones"]) == ("pretrained", 500, [0.7, 0.9])
    assert "ratio" not in training(paper["models"]["teacher"])
    assert len(paper["views"]["all"]) == 18
    assert paper["models"]["teacher"]["task"] == "keypoints"

    study = study_of(
        SMALLEST,
        """
        model: {config: faster_rcnn_tiny, batch: 4, iterations: 900}
        models: {teacher: {}, student: {labels: distilled, batch: 2, iterations: auto}}""",
    )
    teacher, student = study["models"]["teacher"], study["models"]["student"]
    assert (teacher["batch"], teacher["iterations"], teacher["warmup"]) == (4, 900, 90)
    assert (student["batch"], student["iterations"], student["warmup"]) == (2, "auto", 500)


def test_a_recipe_is_a_word_for_options_that_others_override():
    extra = """
        model: {config: faster_rcnn_tiny, recipe: strong}
        models:
          teacher: {}
          student: {labels: distilled}
          plain: {labels: distilled, augment: none}
          papers: {labels: distilled, recipe: paper}"""
    models = study_of(SMALLEST, extra)["models"]
    augment = {name: model["augment"] for name, model in models.items()}
    strong = {"labelled": "weak", "generated": "strong"}
    assert augment == {"teacher": {"labelled": "weak"}, "student": strong, "plain": "none", "papers": "none"}
    assert not any("recipe" in model for model in models.values())
    common = extra.replace("recipe: strong", "augment: none", 1).replace(
        "augment: none}\n          p", "recipe: strong}\n          p"
    )
    assert (
        study_of(SMALLEST, common)["models"]["plain"]["augment"] == strong
    )  # of one model, before that of all
    assert models["papers"] == study_of(SMALLEST)["models"]["student"]


def test_options_of_labels_differ_from_the_study_only_where_they_say_so():
    labels = "labels: {distilled: {}, voted: {merge: {score: avg}, calibrate: {instances: 2}}}"
    study = study_of(SMALLEST, f"merge: {{vote: 0.9}}\n{labels}")
    assert study["labels"]["distilled"]["merged"] == "all"
    assert study["labels"]["voted"]["merged"] == "all~voted"
    assert study["merged"]["all"]["options"]["score"] == "id"
    assert study["merged"]["all~voted"]["views"] == "all"
    options = study["merged"]["all~voted"]["options"]
    assert (options["vote"], options["score"], options["nms"]) == (0.9, "avg", 0.5)
    assert study["labels"]["voted"]["calibrate"]["instances"] == 2
    assert study["labels"]["distilled"]["calibrate"]["instances"] == 1


def test_each_task_has_its_validation_set():
    both = "models: {teacher: {}, pose: {config: keypoint_rcnn_tiny}}\nviews: {plain: [{scale: 9}]}\n"
    both += "tables: {t: {rows: [teacher]}}\nevaluate: {on: {boxes: val, keypoints: labelled}}"
    study = study_of(SMALLEST, both)
    assert {name: model["validation"] for name, model in study["models"].items()} == {
        "teacher": "val",
        "pose": "labelled",
    }
    assert study["evaluate"]["on"] == ["val", "labelled"]


def test_a_subset_that_shares_predictions_is_the_same_dataset():
    plain = "{kind: subset, of: all, images: 3, seed: 5}"
    study = study_of(
        DRAWN.replace(plain, plain.replace("seed", "share_predictions: true, seed")), "seeds: [0, 1]"
    )
    assert study["selected"] == {"labelled-seed0": "all", "labelled-seed1": "all"}
    assert study["datasets"] == study_of(DRAWN, "seeds: [0, 1]")["datasets"]


def test_defaults_that_are_written_out_change_no_dataset():
    plain, explicit = (
        study_of(DRAWN),
        study_of(DRAWN.replace("images: 9", "images: 9, seed: 0, style: photo")),
    )
    assert plain["datasets"] == explicit["datasets"]


def test_a_new_option_with_a_default_makes_nothing_again(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for name, groups in {
        "datasets": ("figures", "subset"),
        "labels": ("merge", "calibrate"),
        "models": (),
        "tables": (),
    }.items():
        path = tmp_path / f"config/schemas/{name}.yaml"
        schema = yaml.safe_load(path.read_text())
        for group in [schema["$defs"][group] for group in groups] or [schema]:
            group["properties"]["fresh"] = {"default": 3}
        path.write_text(yaml.safe_dump(schema, sort_keys=False))

    def compared(root):
        study = resolve(yaml.safe_load(DRAWN), root)
        table, calibration = study["tables"]["results"], study["labels"]["distilled"]["calibrate"]
        options = [*study["datasets"].values(), study["merged"]["all"]["options"], calibration, table]
        return ["fresh" in each for each in options], [
            *(reruns.of_dataset(spec, root) for spec in study["datasets"].values()),
            *(reruns.of_merge(study["merged"]["all"]["options"], task, root) for task in TASKS),
            *(reruns.of_calibration(calibration, root), reruns.of_table(table, root)),
            *(reruns.of_training(model, root, {}) for model in study["models"].values()),
            reruns.of_study(study, root),
        ]

    (old, before), (new, after) = compared(ROOT), compared(tmp_path)
    assert not any(old)
    assert all(new)
    assert before == after


def test_paths_of_datasets_start_from_one_folder():
    datasets = study_of(SMALLEST, "data: ../shared")["datasets"]
    assert datasets["labelled"]["annotations"] == "../shared/a.json"
    assert datasets["unlabelled"]["images"] == "../shared/b"


def test_predictions_of_other_programs_take_the_place_of_a_teacher():
    files = "labels: {distilled: {predictions: [a.json, ~/b.json]}}\ndata: there\nmodel: keypoint_rcnn_tiny"
    study = study_of(SMALLEST, files)
    entry = study["labels"]["distilled"]
    assert not {"teacher", "views", "together", "merged"} & set(entry)
    assert entry["predictions"][0] == "there/a.json"
    assert (entry["labelled"], entry["teachers"], entry["posed"]) == ("labelled", [], True)
    two = files.replace(
        "model: keypoint_rcnn_tiny", "model: {config: keypoint_rcnn_tiny, labelled: [labelled, val]}"
    )
    unused = study_of(SMALLEST, f"{two}\nmodels: {{teacher: {{}}}}")
    assert unused["labels"]["distilled"]["labelled"] == "labelled+val"


def test_several_view_sets_make_a_row_for_each():
    study = study_of(
        SMALLEST,
        "evaluate: {views: [plain, all]}\ntables: {t: {rows: [student], reference: {student (all): 3}}}",
    )
    assert [row["name"] for row in study["tables"]["t"]["rows"]] == ["student", "student (all)"]


def test_a_dataset_can_take_the_place_of_generated_labels():
    corrected = "datasets: {all: {kind: figures, images: 9}, labelled: {kind: subset, of: all, images: 3},"
    corrected += (
        " better: {kind: subset, of: all, exclude: labelled}, val: {kind: figures, images: 4, seed: 1}}"
    )
    models = "models: {student: {labels: better}}"
    study = study_of(SMALLEST, f"{corrected}\n{models}\nseeds: [0, 1]")
    assert (
        study["models"]["student-seed1"]["labels"] == "better-seed1"
    )  # the draw that it excludes has a seed
    assert "ratio" in training(study["models"]["student-seed1"])
    assert lineage(study, ["student-seed1"]) == (["student-seed1"], [])


def test_the_types_say_what_is_there():
    config = yaml.safe_load((ROOT / "config/coco_mini.yaml").read_text())
    seeds = study_of(SMALLEST, "merge: {size_dependent: 30}\nseeds: [0, 1]")
    for study in (resolve(config, ROOT), seeds, study_of(FOLDED, "folds: 3")):
        assert msgspec.convert(study, Study) == study


def test_resolving_changes_nothing_that_it_was_given():
    config = yaml.safe_load(DRAWN)
    before = copy.deepcopy(config)
    first = resolve(config, ROOT)
    assert config == before
    assert resolve(config, ROOT) == first


def test_resolving_a_study_imports_nothing_slow():
    code = "import sys, distill.study.reruns; print(*{'torch', 'numpy', 'pandas', 'cv2'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "scripts", capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == ""
