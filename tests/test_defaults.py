"""A default stands in its schema, or in config/models/defaults.yaml, alone. All of them are changed here, and
the programs are given the new ones; the code has none of its own."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from distill.labels import calibrate
from distill.predictions import merge
from distill.program import UserError
from distill.study.resolve import TRAINING_OPTIONS, resolve
from helpers import ROOT
from helpers.stand_in import Project

# Says as little as it can. Defaults that are names become `another`.
STUDY = """
model: {config: keypoint_rcnn_tiny, repeat: true, recipe: paper}
datasets:
  another: {kind: figures, images: 3}
  pool: {kind: folder, images: pool}
  photos: {kind: coco, images: pool, annotations: photos.json}
  yolo: {kind: yolo, annotations: data.yaml}
  voc: {kind: voc, annotations: pool}
  clips: {kind: videos, videos: pool}
  part: {kind: subset, of: pool, images: 2}
  both: {kind: union, of: [another, pool]}
views: {another: [{scale: 100}, {scale: 300}], grid: {scales: [100, 300]}}
models: {another: {init: none, iterations: auto, freeze_rpn: false}, student: {labels: distilled}}
labels: {distilled: {}, pooled: {dataset: pool}, given: {predictions: a, merge: {boxes: union}}}
tables: {results: {rows: [another]}}
"""
TARGETS = [
    *(f"another/datasets/{name}.json" for name in ("pool", "photos", "yolo", "voc", "clips", "part", "both")),
    *(
        "another/models/student/model.pth",
        "another/labels/pooled/thresholds.json",
        "another/labels/given/thresholds.json",
    ),
    *("another/tables/results.csv", "another/selection/another/another/another.csv"),
    *("another/evaluation/student/another/all.json", "another/merged/another/part/another.json"),
]


KEPT = {  # what would be another study: views that only pose estimators can have, labels that need a teacher
    "views": ("views", ("padding", "paddings", "turn", "turns")),
    "labels": ("calibrate", ("aim",)),
}


def other(schema: dict[str, Any], value: Any, parts: dict[str, Any] | None = None) -> Any:
    """A valid value that is not this one. parts: `$defs` that the schema may refer to."""
    schema = {**schema, "$defs": parts or {}}
    new = [*schema.get("enum", ()), "another", "strong", 0.5, 2, [0]]
    if isinstance(value, bool):
        new.insert(0, not value)
    elif isinstance(value, int | float):
        new[:0] = [value + 1, value / 2]
    elif isinstance(value, list) and (value or "enum" in schema.get("items", {})):
        new.insert(0, [other(schema["items"], one, parts) for one in value or [None]])
    return next(v for v in new if v != value and Draft202012Validator(schema).is_valid(v))


def change(schema: Any, parts: dict[str, Any] | None = None) -> None:
    """Changes all defaults in a schema, but for `{}`: that nothing is there."""
    parts = schema.get("$defs", {}) if parts is None else parts
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        change(inner, parts)
    if isinstance(schema, dict) and schema.get("default", {}) != {}:
        itself = {key: value for key, value in schema.items() if key not in ("default", "$ref")}
        schema["default"] = other(itself, schema["default"], parts)


def change_by_config(values: Any, options: dict[str, Any], key: str = "") -> Any:
    """config/models/defaults.yaml, likewise; options: schemas of a model's."""
    if isinstance(values, dict):
        return {key: change_by_config(value, options, key) for key, value in values.items()}
    if isinstance(values, list):
        return [change_by_config(value, options) for value in values]
    return other(options.get(key, {}), values, options.get("$defs"))


def defaults_in(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """`schema`, or `schema.group` → key → default, but for `{}`."""
    groups = {"": schema, **schema.get("properties", {}), **schema.get("$defs", {})}
    found: dict[str, dict[str, Any]] = {}
    for name, group in groups.items():
        for key, option in group.get("properties", {}).items():
            if option.get("$ref", "").startswith("#/$defs/"):
                option = {**schema["$defs"][option["$ref"].removeprefix("#/$defs/")], **option}
            if option.get("default", {}) != {}:
                found.setdefault(f"{schema['$id']}.{name}".strip("."), {})[key] = option["default"]
    return found


class Changed:
    """The study under other defaults. usual: these (`defaults_in`); by_config: those of the model; plan: what
    Snakemake says; commands: of every job, program → the words of its command line."""

    def __init__(self, folder: Path) -> None:
        project = Project(folder, STUDY)
        paths = {path.stem: path for path in (folder / "config/schemas").iterdir()}
        schemas = {name: yaml.safe_load(path.read_text()) for name, path in paths.items()}
        models = folder / "config/models/defaults.yaml"
        options = {**schemas["models"]["properties"], "$defs": schemas["models"].get("$defs")}
        by_config = change_by_config(yaml.safe_load(models.read_text()), options)
        models.write_text(yaml.safe_dump(by_config))
        self.folder, self.by_config = folder, {**by_config["tiny"], **by_config["keypoint_rcnn_tiny"]}
        self.usual: dict[str, dict[str, Any]] = {}
        for name, schema in schemas.items():
            group, keys = KEPT.get(name, ("", ()))
            options = schema["$defs"][group]["properties"] if group else {}
            kept = {key: options[key]["default"] for key in keys if key in options}
            change(schema)
            for key, value in kept.items():
                options[key]["default"] = value
            self.usual |= defaults_in(schema)
            paths[name].write_text(yaml.safe_dump(schema, sort_keys=False))
        done = project.snakemake("-n", "-p", *TARGETS)
        assert done.returncode == 0, done.stdout + done.stderr
        self.plan = done.stdout + done.stderr
        self.commands: dict[str, list[list[str]]] = {}
        for line in re.findall("^Shell command: (.*)", self.plan, re.M):
            words = shlex.split(line)
            program = next(word for word in words if word.startswith("scripts/"))
            self.commands.setdefault(Path(program).stem, []).append(words)

    def given(self, program: str, option: str) -> list[Any]:
        """What each job of a program is given for an option; JSON is read."""
        values = [words[words.index(option) + 1] for words in self.commands[program]]
        return [json.loads(value) if value[0] in "{[" else value for value in values]


@pytest.fixture(scope="module")
def changed(tmp_path_factory) -> Changed:
    return Changed(tmp_path_factory.mktemp("defaults"))


def test_defaults_of_merging_and_calibration(changed):
    usual = changed.usual["labels.merge"]
    plain = changed.by_config["views"]["plain"][0]["scale"]
    assert {*usual, "plain"} == {field.name for field in fields(merge.Options)}
    for program in ("merge_views", "select_views"):
        assert all(job == {**usual, "plain": plain} for job in changed.given(program, "--options"))
    given = {**usual, "boxes": "union", "plain": plain}  # which no average can be taken of
    assert changed.given("merge_predictions", "--options") == [given]
    usual = changed.usual["labels.calibrate"]
    assert set(usual) == {field.name for field in fields(calibrate.Options)}
    assert all(job == usual for job in changed.given("calibrate_threshold", "--options"))


def test_defaults_of_datasets(changed):
    jobs = {spec["kind"]: spec for spec in changed.given("split_data", "--spec")}
    kinds = {place.partition(".")[2]: place for place in changed.usual if place.startswith("datasets.")}
    assert set(kinds) == {"coco", "yolo", "voc", "subset", "union", "videos", "figures"}
    for kind, place in kinds.items():
        expected = dict(changed.usual[place])
        if kind == "subset":  # it is drawn anew for each seed, and predicted with what it is of
            assert expected.pop("share_predictions")
            expected["seed"] += changed.usual["study"]["seeds"][0]
        assert {key: jobs[kind].get(key) for key in expected} == expected
    assert "select_predictions" in changed.commands
    for kind in ("coco", "yolo", "voc", "folder", "videos"):
        assert jobs[kind]["unreadable"] == changed.usual["study"]["unreadable"]


def test_defaults_of_trainings(changed):
    """Those of one model are the config's where it has any; a warm-up is at most a tenth of the training."""
    student, teacher = sorted(changed.given("train", "--spec"), key=lambda spec: spec["iterations"] == "auto")
    assert set(student) == {*TRAINING_OPTIONS, "ratio"} == {*teacher, "ratio"}
    usual = {**changed.usual["models"], **changed.by_config["model"]}
    usual["seed"] += changed.usual["study"]["seeds"][0]
    iterations = changed.by_config["iterations"]["student"]
    own = {"iterations": iterations, "warmup": iterations // 10}
    assert student == {**{key: value for key, value in usual.items() if key in student}, **own}
    own = {"iterations": "auto", "init": "none", "freeze_rpn": False}
    assert teacher == {**{key: value for key, value in usual.items() if key in teacher}, **own}
    # The others decide how it is run, and how often.
    assert set(changed.usual["models"]) - set(student) == {"labelled", "repeat", "gpus", "nodes", "recipe"}
    train = re.findall(r"^rule train_teacher:\n(?:    .*\n)+", changed.plan, re.M)[0]
    assert "nodes=1," in train  # the study is for CPUs, on which one process trains a model
    assert "mem_mb=16000," in train
    with pytest.raises(UserError, match="repeat: must be true"):
        resolve(yaml.safe_load(STUDY.replace(", repeat: true", "")), changed.folder)


def test_defaults_of_predictions_and_views(changed):
    usual = {key: value for key, value in changed.usual["views.views"].items() if key not in KEPT["views"][1]}
    assert list(usual.values()) == [True, 2001, 2.0, [2.0], 90, [90]]
    study, rest = changed.usual["study"], "-m2001-a2-r090"
    assert set(changed.given("detect_boxes", "--view")) == {f"s0129{rest}-flip"}
    views = resolve(yaml.safe_load(STUDY), changed.folder)["views"]
    assert views["another"] == [f"s0100{rest}-flip", f"s0300{rest}-flip"]
    assert views["grid"] == [f"s0{scale}{rest}{flip}" for scale in (100, 300) for flip in ("", "-flip")]
    limits = changed.usual["study.fixed_boxes"]
    for job in changed.given("detect_boxes", "--fixed-boxes"):
        assert job == {key: limits[key] for key in ("min_score", "per_image")}
    calibrate = changed.usual["labels.calibrate"]
    asked = calibrate["instances"] * calibrate["ignore"]
    assert changed.given("choose_boxes", "--per-label") == [str(max(limits["per_label"], asked))]
    assert changed.given("choose_boxes", "--agnostic-nms") == [
        str(changed.usual["labels.calibrate"]["agnostic_nms"])
    ]
    for program in ("detect_boxes", "predict_view"):
        assert all("--amp" in words for words in changed.commands[program]) == study["predict_amp"]
        assert set(changed.given(program, "--shards")) == {str(study["shards"])}


def test_defaults_of_tables_and_of_the_study(changed):
    """Of tables, all say that nothing is there. Names lead to what is called `another`."""
    assert changed.given("make_table", "--spec")[0].items() >= {"reference": {}, "gains": {}}.items()
    study = changed.usual["study"]
    assert study.keys() == {
        *("results", "data", "device", "predict_amp", "shards", "threads", "seeds", "unreadable"),
        "keep_heatmaps",
    }
    named = {**study, **changed.usual["labels"], **changed.usual["study.evaluate"]}
    named |= {"labelled": changed.usual["models"]["labelled"]}
    assert {key for key, value in named.items() if value in ("another", ["another"])} == {
        *("results", "data", "teacher", "dataset", "views", "on", "labelled"),
    }
    folder = next(
        spec["images"] for spec in changed.given("split_data", "--spec") if spec["kind"] == "folder"
    )
    assert folder == "another/pool"
    for words in changed.commands["train"]:
        assert words[1] == f"OMP_NUM_THREADS={study['threads']};"
        assert words[words.index("--labelled") + 1] == "another/datasets/another.json"
    assert study["device"] == "cpu"
    assert "gpu=1" not in changed.plan
    assert study["keep_heatmaps"] == [0]
    kept, temporary = (
        re.findall(rf"^rule infer_view_{rule}:\n(?:    .*\n)*    output: (.*)$", changed.plan, re.M)
        for rule in ("heatmaps", "temporary")
    )
    assert {Path(path).stem for path in kept} == {"000"}
    assert {Path(path).stem for path in temporary} == {"001"}


def literal(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return ...
    return list(value) if isinstance(value, tuple) else value


def fallbacks(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Names with the values that they have where nothing is said: of arguments of functions and programs, of
    fields of dataclasses, and of keys of mappings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names, values = [*node.args.posonlyargs, *node.args.args], node.args.defaults
            pairs = [*zip(names[len(names) - len(values) :], values, strict=True)]
            pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            yield from ((name.arg, value) for name, value in pairs if value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            name = str(literal(node.args[0]))
            if node.func.attr in ("get", "pop", "setdefault") and len(node.args) == 2:
                yield name, node.args[1]
            for keyword in node.keywords:
                if node.func.attr == "add_argument" and keyword.arg == "default":
                    yield name.lstrip("-").replace("-", "_"), keyword.value


# What only looks like an option of a study: the parts that a view's name leaves out, and no switch, any GPU.
NONE_OF_A_STUDY = {
    *(("views", name) for name in ("flip", "max_side", "aspect", "rotate", "padding", "turn")),
    *(("predictor", "amp"), ("gpus", "device")),
}


def test_no_default_stands_in_the_code():
    defaults: dict[str, list[Any]] = {}
    for path in (ROOT / "config/schemas").iterdir():
        for group in defaults_in(yaml.safe_load(path.read_text())).values():
            for key, value in group.items():
                defaults.setdefault(key, []).append(value)
    code = [(path.stem, ast.parse(path.read_text())) for path in (ROOT / "scripts").rglob("*.py")]
    found = {
        (module, name)
        for module, tree in code
        for name, value in fallbacks(tree)
        if literal(value) in defaults.get(name, ())
    }
    assert found == NONE_OF_A_STUDY
    classes = [node for _, tree in code for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    options = [node for node in classes if node.name == "Options"]
    assert len(options) == 2
    assert not [name for node in options for name, _ in fallbacks(node)]
