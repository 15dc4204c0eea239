"""What seeds and folds repeat of a study, and what serves all of them."""

import pytest
import yaml

from distill.files import write_json
from distill.program import UserError
from distill.study.lineage import lineage
from distill.study.needs import needs
from distill.study.seeds import family
from helpers import ROOT
from helpers.configs import DRAWN, FOLDED, study_of
from helpers.workflow import succeed


def test_several_seeds_repeat_what_depends_on_chance_and_share_the_rest():
    study = study_of(DRAWN, "seeds: [0, 2]")
    assert set(study["datasets"]) == {
        *("all", "val", "labelled-seed0", "labelled-seed2", "unlabelled-seed0", "unlabelled-seed2")
    }
    assert study["datasets"]["labelled-seed2"]["seed"] == 7
    assert study["datasets"]["unlabelled-seed2"]["exclude"] == "labelled-seed2"
    student, upper = study["models"]["student-seed2"], study["models"]["upper-seed2"]
    assert (student["labelled"], student["labels"]) == ("labelled-seed2", "distilled-seed2")
    assert (student["init"], student["seed"], upper["seed"], upper["labelled"]) == (
        "teacher-seed2",
        3,
        2,
        "all",
    )
    assert study["labels"]["distilled-seed2"]["dataset"] == "unlabelled-seed2"
    row = study["tables"]["results"]["rows"][0]
    assert row["models"] == ["teacher-seed0", "teacher-seed2"]
    assert row["evaluations"][1] == "results/evaluation/teacher-seed2/val/plain.json"
    assert study["evaluate"]["on"] == ["val"]


def test_a_model_that_is_not_repeated_serves_all_seeds():
    extra = """
        seeds: [0, 2]
        models:
          base: {labelled: all, seed: 4, repeat: false}
          teacher: {init: base}
          student: {labels: distilled}
        tables: {}"""
    models = study_of(DRAWN, extra)["models"]
    assert set(models) == {"base", *(f"{role}-seed{n}" for role in ("teacher", "student") for n in (0, 2))}
    assert (models["base"]["seed"], models["base"]["labelled"]) == (4, "all")
    assert models["teacher-seed2"]["init"] == "base"


@pytest.mark.parametrize("source", [{"labelled": "labelled"}, {"labels": "distilled"}, {"init": "teacher"}])
def test_a_model_is_repeated_where_what_it_is_made_from_is(source):
    base = {"labelled": "all", "repeat": False, **source}
    (name,) = source.values()
    message = f"models.base.repeat: must be true, as each seed has a {name} of its own"
    with pytest.raises(UserError, match=message):
        study_of(DRAWN, yaml.safe_dump({"models": {"teacher": {}, "base": base}}))


def test_what_has_the_name_of_something_that_is_repeated_need_not_be():
    named = DRAWN.replace("  val:", "  teacher: {kind: figures, images: 9}\n  val:")
    extra = "seeds: [0, 1]\nmodels: {base: {labelled: teacher, repeat: false}, teacher: {init: base}}"
    assert "base" in study_of(named, extra)["models"]


IMPORT = "{import: {format: torchvision, checkpoint: zoo.pth}}"


def test_an_imported_model_takes_no_options_of_training_and_serves_all_seeds():
    """What the study's `model` says of training is for the others."""
    extra = f"""
        model: {{config: faster_rcnn_tiny, iterations: 7}}
        models: {{teacher: {IMPORT}, student: {{labels: distilled, init: teacher}}}}
        seeds: [0, 2]"""
    study = study_of(DRAWN, extra)
    assert set(study["models"]) == {"teacher", "student-seed0", "student-seed2"}
    teacher = study["models"]["teacher"]
    assert (teacher["import"]["format"], teacher["task"], teacher["labels"]) == ("torchvision", "boxes", None)
    assert not {"iterations", "batch", "seed"} & set(teacher)
    student, labels = study["models"]["student-seed2"], study["labels"]["distilled-seed2"]
    assert (student["init"], student["iterations"]) == ("teacher", 7)
    assert (labels["teacher"], labels["labelled"]) == ("teacher", "labelled-seed2")
    path = "results/evaluation/teacher/val/plain.json"
    assert study["tables"]["results"]["rows"][0]["evaluations"] == [path, path]


def test_a_published_start_serves_all_seeds():
    extra = "{seeds: [0, 2], models: {teacher: {init: {format: mmdet, checkpoint: ~/zoo.pth}}}, tables: {}}"
    models = study_of(DRAWN, extra)["models"]
    assert models["teacher-seed2"]["init"] == models["teacher-seed0"]["init"]
    assert models["teacher-seed2"]["init"]["checkpoint"].endswith("/zoo.pth")
    assert "~" not in models["teacher-seed2"]["init"]["checkpoint"]


def test_one_seed_is_added_without_renaming():
    study = study_of(DRAWN, "seeds: [4]")
    assert study["datasets"]["labelled"]["seed"] == 9
    assert study["models"]["student"]["seed"] == 5


def test_a_drawn_validation_set_belongs_to_its_seed():
    drawn = DRAWN.replace("{kind: figures, images: 4, seed: 1}", "{kind: subset, of: all, images: 2}")
    study = study_of(drawn, "seeds: [0, 1]")
    assert study["evaluate"]["on"] == ["val-seed0", "val-seed1"]
    assert study["models"]["teacher-seed1"]["validation"] == "val-seed1"
    assert "/teacher-seed1/val-seed1/" in study["tables"]["results"]["rows"][0]["evaluations"][1]


def test_folds_repeat_a_study_each_with_a_validation_set_of_its_own():
    study = study_of(FOLDED, "folds: 3\nseeds: [10]")
    held, rest = study["datasets"]["val-fold2"], study["datasets"]["others-fold2"]
    assert (held["folds"], held["seed"]) == ([2, 3], 12) == (rest["folds"], rest["seed"])
    assert study["datasets"]["val-fold0"] == {**held, "folds": [0, 3]}  # of one partition
    assert study["datasets"]["labelled-fold2"] | {"kind": ""} == {
        **study["datasets"]["labelled-fold0"],
        **{"of": "others-fold2", "seed": 12, "kind": ""},
    }
    assert study["datasets"]["more-fold2"]["ids"] == "more-2.txt"
    student = study["models"]["student-fold2"]
    assert (student["seed"], student["labels"], student["validation"]) == (12, "distilled-fold2", "val-fold2")
    assert study["evaluate"]["on"] == ["val-fold0", "val-fold1", "val-fold2"]
    assert study["tables"]["results"]["over"] == "folds"
    assert family(study, "student-fold2") == "student"


def test_several_teachers_are_repeated_and_shown_together():
    labels = "labels: {distilled: {teacher: [teacher, upper]}}\nseeds: [0, 1]"
    study = study_of(DRAWN, labels)
    entry = study["labels"]["distilled-seed1"]
    assert (entry["teacher"], entry["teachers"]) == ("teacher-seed1", ["teacher-seed1", "upper-seed1"])
    assert entry["together"] == "teacher-seed1+upper-seed1"
    assert lineage(study, ["student-seed1"])[0] == ["teacher-seed1", "student-seed1", "upper-seed1"]
    rows = [row["name"] for row in study["tables"]["results"]["rows"]]
    assert rows == ["teacher", "teacher (all)", "student", "upper", "upper (all)"]


def test_predictions_of_other_programs_serve_all_seeds():
    labels = (
        "labels: {distilled: {predictions: a.json}}\nseeds: [0, 1]\nmodels: {student: {labels: distilled}}"
    )
    study = study_of(DRAWN, labels)
    assert list(study["models"]) == ["student-seed0", "student-seed1"]
    entry = study["labels"]["distilled-seed1"]
    assert (entry["dataset"], entry["labelled"]) == ("unlabelled-seed1", "labelled-seed1")
    assert (entry["predictions"], entry["posed"]) == (["a.json"], False)
    assert lineage(study, ["student-seed1"]) == (["student-seed1"], ["distilled-seed1"])
    assert needs(study, study["tables"]["results"]["rows"]).predictions == {
        (f"student-seed{seed}", "val", "s0200") for seed in (0, 1)
    }


def test_several_labelled_datasets_are_their_union_and_lists_are_of_a_seed():
    more = "{kind: subset, of: all, ids: 'lists/more-{seed}.txt'}"
    study = study_of(
        DRAWN.replace("  val:", f"  more: {more}\n  val:").replace(
            "teacher: {}", "teacher: {labelled: [labelled, more]}"
        ),
        "seeds: [0, 3]",
    )
    assert study["datasets"]["more-seed3"]["ids"] == "lists/more-3.txt"
    assert study["datasets"]["labelled+more-seed3"]["of"] == ["labelled-seed3", "more-seed3"]
    assert study["models"]["teacher-seed0"]["labelled"] == "labelled+more-seed0"
    assert study["labels"]["distilled-seed0"]["labelled"] == "labelled+more-seed0"
    one = study_of(DRAWN.replace("teacher: {}", "teacher: {labelled: [labelled]}"))
    assert one["models"] == study_of(DRAWN)["models"]
    with pytest.raises(UserError, match="braces"):
        study_of(DRAWN, "results: 'out/{seed}'")


def test_lists_on_the_command_line_are_of_numbers(tmp_path):
    """Snakemake hands them over as text; words, and numbers with zeros before them, are text indeed."""
    drawn = {"kind": "figures", "images": 9}
    datasets = {"all": drawn, "labelled": {"kind": "subset", "of": "all"}, "val": {**drawn, "seed": 1}}
    study = {"model": "faster_rcnn_tiny", "datasets": datasets, "models": {"teacher": {}}}
    write_json(tmp_path / "study.yaml", study | {"tables": {"t": {"rows": ["teacher"]}}})
    nested = ("seeds=[0, 3]", "models={teacher: {iterations: 5}}", f"results={tmp_path}/x/")
    ids = "datasets={labelled: {ids: ['007', x y.jpg, 3]}}"
    given = ("-n", "--nolock", "--forceall", "-p", "--config", *nested, ids, "--", "t")
    planned = succeed(ROOT, *given, config=str(tmp_path / "study.yaml"))
    assert planned.count("rule train_teacher:") == 2
    assert '"iterations": 5' in planned
    assert '"ids": ["007", "x y.jpg", 3]' in planned
    assert "double '/'" not in planned
