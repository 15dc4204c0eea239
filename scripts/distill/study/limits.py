"""What no schema can say of a study, and what would end a job hours later: refused before anything runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from distill.evaluation.metrics import METRICS, USUAL
from distill.predictions.views import View, check_crops, check_images
from distill.program import UserError
from distill.strict import as_list
from distill.study.entries import defaults_of
from distill.study.lineage import origins
from distill.study.model_config import is_our_rcnn, is_outside, is_topdown
from distill.study.schema import suggestion
from distill.study.seeds import draws
from distill.study.types import Study

# Options whose other values only our R-CNNs can.
NEUTRAL = {"freeze_rpn": False, "background": "sample", "weight": "none", "regress": True}
ONLY = "only Faster and Keypoint R-CNN of config/models can"
FOR_STUDENTS = ("ratio", "background", "weight", "regress")
LARGEST_SEED = 2**32 - 1  # of NumPy's generator, which mmengine seeds


def check(config: Mapping[str, Any], study: Mapping[str, Any], root: Path) -> None:
    """Raises UserError. root: the project's folder.

    config: as it was written.
    study: resolved, before its repetition over seeds.
    """
    for name, spec in study["datasets"].items():
        _check_dataset(f"datasets.{name}", spec, study)
    _check_folds(study)
    for name, model in study["models"].items():
        _check_model(f"models.{name}", model, config.get("models", {}).get(name, {}), study)
        _check_network(f"models.{name}", model, root)
        if model["labels"] in study["labels"]:
            _check_lesson(name, model, study["labels"][model["labels"]], root)
    _check_crops(study, root)
    _check_merging(study, root)
    for name, entry in study["labels"].items():
        if "predictions" in entry:
            _check_predictions(f"labels.{name}", entry, study)
    for name in study["evaluate"]["on"].values():
        if not annotated(name, study["datasets"]):
            raise UserError(f"evaluate.on: the dataset {name!r} has no annotations")
    for name, table in study["tables"].items():
        _check_metrics(f"tables.{name}", table)
    if "views" not in config:
        _check_default_views(study["models"], root)


def _check_default_views(models: Mapping[str, Any], root: Path) -> None:
    """That detectors do not all see test images under the views of the first one, unnoticed."""
    plain = {
        name: defaults_of(model["config"], root)["views"]["plain"]
        for name, model in models.items()
        if "boxes" not in model
    }
    first, usual = next(iter(plain.items()))
    for name, mine in plain.items():
        if mine != usual:
            what = "are tested under other views by default; write plain, and all"
            raise UserError(f"views: {first} and {name} {what}")


def _check_dataset(where: str, spec: Mapping[str, Any], study: Mapping[str, Any]) -> None:
    if draws(spec):
        _check_seed(where, spec, study)
    if "range" in spec and not spec["range"][0] < spec["range"][1]:
        raise UserError(f"{where}.range: {spec['range']} is not [a, b] with a below b")


def _check_folds(study: Mapping[str, Any]) -> None:
    """That they are those of the validation sets."""
    datasets = study["datasets"]
    if "folds" not in study:
        if folded := [name for name, spec in datasets.items() if "fold" in spec]:
            raise UserError(f"datasets.{folded[0]}.fold: the study has no folds; add `folds: 5`, say")
        return
    if len(study["seeds"]) > 1:
        raise UserError("folds: go with one of `seeds`; each fold adds its number to it")
    for name in study["evaluate"]["on"].values():
        if not any("fold" in datasets[source] for source in [name, *origins(cast(Study, study), name)]):
            raise UserError(f"folds: {name!r} is the same in all of them; make it a subset with `fold: held`")


def _check_model(
    where: str, model: Mapping[str, Any], given: Mapping[str, Any], study: Mapping[str, Any]
) -> None:
    """given: what the configuration says of the model itself."""
    datasets, labels = study["datasets"], model["labels"]
    if "seed" in model:
        _check_seed(where, model, study)
    if not labels and (unfit := [key for key in FOR_STUDENTS if key in given]):
        raise UserError(f"{where}.{unfit[0]}: is for students; without `labels` no image is generated")
    if not annotated(model["labelled"], datasets):
        raise UserError(f"{where}.labelled: the dataset {model['labelled']!r} has no annotations")
    if labels in datasets and labels not in study["labels"] and not annotated(labels, datasets):
        raise UserError(f"{where}.labels: the dataset {labels!r} has no annotations")
    if model.get("keep") == "best" and not model["validate"]:
        raise UserError(f"{where}.keep: the best of none; add `validate: 5`, say")
    if "import" in model:
        return
    if (side := max(model["scales"])) > model["max_side"]:
        raise UserError(f"{where}.scales: {side} is more than max_side, {model['max_side']}; raise that, too")
    if model["iterations"] != "auto" and model["warmup"] >= model["iterations"]:
        what = (
            f"{model['warmup']} is not below iterations, {model['iterations']}, so that `lr` is never reached"
        )
        raise UserError(f"{where}.warmup: {what}")
    if study["device"] == "cpu":
        return
    if model["batch"] % (processes := model["gpus"] * model["nodes"]):
        raise UserError(f"{where}.batch: {model['batch']} is not a multiple of its {processes} GPUs")


def _check_lesson(name: str, model: Mapping[str, Any], labels: Mapping[str, Any], root: Path) -> None:
    """labels: those that the model learns from."""
    if labels["calibrate"]["ignore"] is not None and not is_our_rcnn(model["config"], root):
        raise UserError(f"labels.{model['labels']}.calibrate.ignore: {name} learns from them; {ONLY}")
    if model.get("weight") == "score" and labels["merge"]["score"] == "quasi_sum":
        what = "the scores of its labels are sums over views, no weights; take another rule for merge.score"
        raise UserError(f"models.{name}.weight: score: {what}")


def _check_network(where: str, model: Mapping[str, Any], root: Path) -> None:
    """What only some networks can; the training looks again, at the network itself."""
    if model.get("lr") == "auto" and not is_outside(model["config"]):
        raise UserError(f"{where}.lr: auto: {model['config']} has no learning rate of its own")
    if not is_our_rcnn(model["config"], root):
        for option, usual in NEUTRAL.items():
            if model.get(option, usual) != usual:
                raise UserError(f"{where}.{option}: {model[option]}: {ONLY}")
    if model.get("freeze_rpn") and model["init"] in ("none", "pretrained"):
        what = f"init: {model['init']} has no region proposals to keep; begin from a model, `init: teacher`"
        raise UserError(f"{where}.freeze_rpn: {what}")


def _check_crops(study: Mapping[str, Any], root: Path) -> None:
    """What pose estimators, which see crops of other models' boxes, ask of models and views."""
    models = study["models"]
    crops = {name for name, model in models.items() if is_topdown(model["config"], root)}
    for name, model in models.items():
        if name in crops and "boxes" not in model:
            raise UserError(f"models.{name}.boxes: must name the model in whose boxes {name} predicts")
        if "boxes" in model and (name not in crops or model["boxes"] in crops):
            owner = name if name not in crops else model["boxes"]
            what = "has boxes of its own" if name not in crops else "has none, being a pose estimator"
            raise UserError(f"models.{name}.boxes: {owner} {what}")
        if name in crops and model.get("validate"):
            raise UserError(
                f"models.{name}.validate: {name} is a pose estimator, which has no boxes of its own"
            )
        if name in crops and (mixed := of_several(model.get("augment"))):
            what = "a pose estimator, which sees crops of single objects"
            raise UserError(f"models.{name}.augment: {mixed[0]}: {name} is {what}")
    for name, entry in study["labels"].items():
        configs = {models[teacher]["config"] for teacher in entry["teachers"]}
        if len(configs) > 1 and crops.intersection(entry["teachers"]):
            one = "heatmaps of different pose estimators are not averaged"
            raise UserError(f"labels.{name}.teacher: {one}; take teachers of one config")
    used = [(teacher, entry["views"]) for entry in study["labels"].values() for teacher in entry["teachers"]]
    used += [(row["model"], row["views"]) for table in study["tables"].values() for row in table["rows"]]
    for name, views in used:
        check = check_crops if name in crops else check_images
        check(map(View.parse, study["views"][views]), f"views.{views} for {name}")


def _check_merging(study: Mapping[str, Any], root: Path) -> None:
    """That the networks can what merging asks: those of labels, of tables, and validated ones."""
    models = study["models"]
    asked = [
        (f"labels.{name}.merge", entry["merge"], teacher)
        for name, entry in study["labels"].items()
        for teacher in entry["teachers"]
    ]
    tested = [row["model"] for table in study["tables"].values() for row in table["rows"]]
    tested += [name for name, model in models.items() if model.get("validate")]
    for where, options, name in [*asked, *(("merge", study["merge"], name) for name in tested)]:
        config = models[name]["config"]
        if not is_topdown(config, root):
            if options["boxes"] == "average" and not is_our_rcnn(config, root):
                raise UserError(f"{where}.boxes: average: {name} scores no given boxes; {ONLY}")
            continue
        if options["upsample"] or options["average"] != "probability":
            key = "upsample: true" if options["upsample"] else f"average: {options['average']}"
            raise UserError(f"{where}.{key}: {name} is a pose estimator; this is for Keypoint R-CNN alone")


def of_several(strengths: Any) -> list[str]:
    """What of a model's `augment` makes one image of several, which crops of single objects cannot be."""
    if not isinstance(strengths, Mapping):
        return []
    asked = [key for key in ("mosaic", "mixup") if strengths.get(key)]
    return asked + [key for each in strengths.values() for key in of_several(each)]


def _check_predictions(where: str, entry: Mapping[str, Any], study: Mapping[str, Any]) -> None:
    if not annotated(entry["labelled"], study["datasets"]):
        raise UserError(f"{where}.labelled: the dataset {entry['labelled']!r} has no annotations")
    if entry["calibrate"]["aim"] == "validation":
        raise UserError(f"{where}.calibrate.aim: validation needs a teacher, which is validated")
    if entry["merge"]["boxes"] == "average":
        raise UserError(
            f"{where}.merge.boxes: average needs a teacher; predictions of files only have a union"
        )


def annotated(name: str, datasets: Mapping[str, Any]) -> bool:
    """Whether a dataset can have annotations; a file of them may turn out to have none."""
    spec = datasets[name]
    if spec.get("strip_annotations") or spec["kind"] in ("folder", "videos"):
        return False
    of = spec.get("of", [])
    return all(annotated(source, datasets) for source in as_list(of))


def _check_seed(where: str, entry: Mapping[str, Any], study: Mapping[str, Any]) -> None:
    if (highest := entry["seed"] + max(study["seeds"]) + study.get("folds", 1) - 1) > LARGEST_SEED:
        raise UserError(f"{where}.seed: with those of `seeds` it is {highest}; the highest is {LARGEST_SEED}")


def _check_metrics(where: str, table: Mapping[str, Any]) -> None:
    """The columns of a table, and those that its references are of."""
    task = table["task"]
    columns = [*table.get("metrics", USUAL[task])]
    for metric in columns:
        if metric not in METRICS[task]:
            hint = suggestion(metric, METRICS[task])
            raise UserError(f"{where}.metrics: {metric} is not measured of {task}{hint}")
    columns += ["box AP"] * (task == "keypoints")
    for row, numbers in table["reference"].items():
        for metric in numbers if isinstance(numbers, Mapping) else ["AP"]:
            if metric not in columns:
                hint = suggestion(metric, columns)
                raise UserError(f"{where}.reference.{row}: {metric} is no column{hint}")
