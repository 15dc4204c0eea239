import json
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.append(str(ROOT / "scripts"))  # last: scripts/ holds programs that must hide no package

from distill.study import model_config, reruns
from distill.files import write_json
from distill.study.lineage import lineage, made_of, trained, trained_on
from distill.study.needs import margins, missing_packages, shards_of
from distill.study.paths import check_results
from distill.program import UserError
from distill.study.pretrained import published, weights_of
from distill.study.references import boxes_of, sources
from distill.study.seeds import family
from distill.study.resolve import read, resolve, training

# The programs run in the environment of Snakemake itself, unless conda puts another one in front.
# Snakemake asks our squeue for the state of its jobs.
PROGRAMS = [Path(sys.executable).parent, ROOT / "slurm/bin"]
os.environ.update(PATH=":".join([*map(str, PROGRAMS), os.environ.get("PATH", "")]))

# Slurm signals every process of a job before its time limit, and Snakemake and shells would die of it: the signal
# is for the training, which writes a checkpoint and has the job requeued.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# Raise a number when the meaning of a stage changes: its results are then made anew, with all that follows.
# Other changes of the code run nothing again.
VERSIONS = {
    "dataset": 1,
    "fingerprint": 1,
    "train": 1,
    "import": 1,
    "predict": 1,
    "merge": 1,
    "calibrate": 1,
    "review": 2,
    "evaluate": 3,
    "report": 3,
}

try:
    for path in (*workflow.configfiles, *workflow.overwrite_configfiles):
        read(Path(path))  # again, and strictly: Snakemake keeps the last of two equal keys
    study = resolve(config, ROOT)
    check_results(study["results"])
except UserError as error:
    sys.exit(f"error: {error}")

R = study["results"]
os.environ.update(DISTILL_DEVICE=study["device"])  # no parameter of a job: its change runs nothing again
# Where short jobs find a process to be forks of (distill.forks); it goes with this run. A job of a cluster has a
# Snakemake of its own, which runs nothing else: for one fork, a process would be in vain, and another job's is not its.
if workflow.remote_exec:
    os.environ.pop("DISTILL_FORKS", None)
else:
    FORKS = tempfile.TemporaryDirectory(prefix="distill-")
    os.environ.update(DISTILL_FORKS=FORKS.name)
SHARDS = {name: [f"{shard:03d}" for shard in range(shards_of(study, name))] for name in study["datasets"]}
ALL_SHARDS = max(SHARDS.values(), key=len)
KEPT = {"all": ALL_SHARDS, "none": []}.get(str(study["keep_heatmaps"]))
if KEPT is None:
    KEPT = [f"{shard:03d}" for shard in study["keep_heatmaps"]]
MARGINS = margins(study)  # datasets that keypoint models only label
AMP = " --amp" if study["predict_amp"] else ""
GPU = 0 if study["device"] == "cpu" else 1
MODEL_FILES = ["model.pth", "config.py", "history.csv", "run.json"]  # an imported one has no history


def version(stage):
    return f"{stage} {VERSIONS[stage]}"


def one_of(names):
    """The pattern of a wildcard that is one of the names; without names it matches nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def models_of(task=None, role=None):
    """The pattern of models of a task, or of a role: imported, teacher or student."""
    roles = {
        name: "imported" if "import" in model else "student" if model["labels"] else "teacher"
        for name, model in study["models"].items()
    }
    return one_of(
        name
        for name, model in study["models"].items()
        if task in (None, model["task"]) and role in (None, roles[name])
    )


def untracked(value):
    """A parameter that decides how a job runs but not what it makes. A change of it runs nothing again, since Snakemake
    does not compare parameters that depend on resources."""
    return lambda wildcards, resources: value(wildcards) if callable(value) else value


# Whose predictions are merged: a model's, or those of all teachers of a label set.
MERGED_MODELS = one_of(
    [*study["models"], *(entry["together"] for entry in study["labels"].values() if entry["teachers"])]
)


wildcard_constraints:
    dataset=one_of(study["datasets"]),
    validation=one_of(study["datasets"]),
    model=models_of(),
    of=f"(@({models_of()}))?",
    archive=one_of(study["downloads"]),
    labels=one_of(study["labels"]),
    views=one_of(study["merged"]),
    view=one_of({view for views in study["views"].values() for view in views}),
    shard=one_of(ALL_SHARDS),
    table=one_of(study["tables"]),


# --- datasets ---


def data_file(path):
    return os.path.normpath(os.path.join(study["data"], path))


DOWNLOADED = [data_file(path) for archive in study["downloads"].values() for path in archive["contents"]]
WEIGHTS = weights_of(study["models"].values(), ROOT)


def dataset_file(name):
    return f"{R}/datasets/{name}.json"


def dataset_files(wildcards):
    """The files and folders that a dataset is read from, but not the images of an annotation file. What `download`
    gets is left out, since that must not run unless asked for; and what is missing, which the program then names.
    """
    spec = study["datasets"][wildcards.dataset]
    keys = ["annotations", "videos", "ids"] + (["images"] if spec["kind"] == "folder" else [])
    paths = [spec[key] for key in keys if isinstance(spec.get(key), str)]
    if spec["kind"] == "voc":  # a folder's time is that of what is in itself
        inner = [os.path.join(path, folder) for path in paths for folder in ("Annotations", "JPEGImages")]
        paths = [path for path in inner if os.path.isdir(path)] or paths
    return [path for path in paths if path not in DOWNLOADED and os.path.exists(path)]


# --- models ---


def labels_file(name):
    """The file of a label set, or of the dataset in its place: labels that people have corrected."""
    return f"{R}/labels/{name}/annotations.json" if name in study["labels"] else dataset_file(name)


def model_inputs(wildcards):
    model = study["models"][wildcards.model]
    config = model_config.files(model["config"], ROOT)
    inputs = {"config": config[:1], "bases": config[1:], "labelled": dataset_file(model["labelled"])}
    if "import" in model:
        return inputs | {"checkpoint": model["import"]["checkpoint"]}
    if model["labels"]:
        inputs["labels"] = labels_file(model["labels"])
    if model["validate"]:
        inputs["validation"] = dataset_file(model["validation"])
    if isinstance(model["init"], dict):
        inputs["init"] = model["init"]["checkpoint"]
    elif model["init"] in study["models"]:
        inputs["init"] = f"{R}/models/{model['init']}/model.pth"
    elif model["init"] not in ("pretrained", "none"):
        inputs["init"] = model["init"]
    return inputs


def validation(wildcards):
    """What a training that is validated is told of that: the dataset, and that it is predicted as in a test."""
    model = study["models"][wildcards.model]
    how = {
        "views": study["views"]["plain"],
        "fixed_boxes": study["fixed_boxes"],
        "merge": study["merged"]["plain"]["options"],
    }
    dataset = dataset_file(model["validation"])
    return [f"--validation={dataset}", f"--how={json.dumps(how)}"] if model["validate"] else []


def config_file(wildcards):
    """What a program is given of a model's config; its text, not its name, is what counts."""
    config = study["models"][wildcards.model]["config"]
    return config if model_config.is_outside(config) else f"config/models/{config}.py"


def launcher(wildcards, resources):
    """What starts a training: python, or torchrun on one node, or on several under Slurm's srun. A step of several
    nodes has what it asks for of each, and not what its job has. Not compared by Snakemake: see untracked."""
    gpus, nodes = (study["models"][wildcards.model][key] for key in ("gpus", "nodes"))
    if not GPU or gpus * nodes == 1:
        return "python"
    cpus = resources.get("cpus_per_task") or resources.get("cpus_per_gpu", 0) * gpus or study["threads"]
    step = f"--nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --gpus-per-node={gpus}"
    step += f" --cpus-per-task={cpus}" if cpus > 0 else ""  # below 0, the cluster decides
    srun = f"srun {step} --kill-on-bad-exit=1 " if nodes > 1 else ""
    return f"{srun}python scripts/launch.py --gpus {gpus}"


def training_resource(value):
    """A resource that depends on the model's options."""
    return lambda wildcards, attempt: value(study["models"][wildcards.model], attempt)


# --- predictions ---


MODEL_TO_RUN = expand(f"{R}/models/{{{{model}}}}/{{file}}", file=["model.pth", "config.py"])


def has_keypoints(wildcards):
    return study["models"][wildcards.model.split("+")[0]]["task"] == "keypoints"


def box_owners():
    """The models whose boxes get heatmaps, their own or a pose estimator's."""
    models = study["models"]
    return [boxes_of(models, name) for name, model in models.items() if model["task"] == "keypoints"]


def boxes_to_predict(wildcards):
    """The shard's fixed boxes that a view is predicted in: those of the model after the @, or those of a keypoint
    model. A box model needs none: it proposes boxes under every view."""
    own = boxes_of(study["models"], wildcards.model) if has_keypoints(wildcards) else ""
    owner = wildcards.of.removeprefix("@") or own
    return [f"{R}/predictions/{owner}/{wildcards.dataset}/boxes/{wildcards.shard}.json"] if owner else []


def boxes_to_merge(wildcards):
    """The shard's fixed boxes, in which all views and all teachers have predicted heatmaps; box models have none."""
    first = boxes_of(study["models"], wildcards.model.split("+")[0])
    boxes = f"{R}/predictions/{first}/{wildcards.dataset}/boxes/{wildcards.shard}.json"
    return [boxes] if has_keypoints(wildcards) else []


def predictions(wildcards):
    """The predictions of a shard, or of all shards, under every view of the set by every model of a+b; where the models
    share boxes, those of the first."""
    first, *others = wildcards.model.split("+")
    merged, keypoints = study["merged"][wildcards.views], has_keypoints(wildcards)
    owner = boxes_of(study["models"], first)
    shared = f"@{owner}" if keypoints or merged["options"]["boxes"] == "average" else ""
    own = "" if keypoints and owner == first else shared
    return [
        f"{R}/predictions/{model}/{wildcards.dataset}/{view}{of}/{shard}.{'h5' if keypoints else 'json'}"
        for model, of in [(first, own), *((other, shared) for other in others)]
        for view in study["views"][merged["views"]]
        for shard in ([wildcards.shard] if "shard" in wildcards.keys() else SHARDS[wildcards.dataset])
    ]


def merge_options(wildcards):
    return json.dumps(study["merged"][wildcards.views]["options"])


def merge_meaning(wildcards):
    options = study["merged"][wildcards.views]["options"]
    return json.dumps(reruns.of_merge(options, "keypoints" if has_keypoints(wildcards) else "boxes", ROOT))


# --- labels ---


def merged_of(name):
    """The merged predictions that labels are made of: of their teachers, or of other programs."""
    labels = study["labels"][name]
    if not labels["teachers"]:
        return f"{R}/labels/{name}/predictions.json"
    return f"{R}/merged/{labels['together']}/{labels['dataset']}/{labels['merged']}.json"


def given_inputs(wildcards):
    """Other programs' predictions, those that are there (the program names the others), and their datasets."""
    labels = study["labels"][wildcards.labels]
    return {
        "predictions": [path for path in labels["predictions"] if os.path.exists(path)],
        "dataset": dataset_file(labels["dataset"]),
        "sources": [dataset_file(name) for name in dict.fromkeys(made_of(study, labels["dataset"]))],
        "labelled": dataset_file(labels["labelled"]),
    }


def given_options(wildcards):
    """The merge options; `plain`, which is of heatmaps, is that of all."""
    plain = next(iter(study["merged"].values()))["options"]["plain"]
    return {**study["labels"][wildcards.labels]["merge"], "plain": plain}


def label_inputs(wildcards):
    labels = study["labels"][wildcards.labels]
    return {
        "merged": merged_of(wildcards.labels),
        "dataset": dataset_file(labels["dataset"]),
        "labelled": dataset_file(labels["labelled"]),
    }


def calibration(wildcards):
    return study["labels"][wildcards.labels]["calibrate"]


# --- evaluation, tables, report ---


def selections():
    """The view selection for every label set: of its teachers' predictions under its views on the validation set."""
    paths = []
    for entry in study["labels"].values():
        if not entry["teachers"]:
            continue
        validation = study["models"][entry["teacher"]]["validation"]
        paths.append(f"{R}/selection/{entry['together']}/{validation}/{entry['merged']}.csv")
    return paths


def split_checks(wildcards):
    """The files that prove that no image of the validation set is among those that the models are trained on here."""
    used = trained_on(study, wildcards.model.split("+"))
    return expand(f"{R}/datasets/splits/{{{{dataset}}}}/{{training}}.json", training=used)


def evaluations(table):
    return [path for row in study["tables"][table]["rows"] for path in row["evaluations"]]


def trainings(table):
    """The models that are trained for a table's rows."""
    models, _ = lineage(study, [model for row in study["tables"][table]["rows"] for model in row["models"]])
    return trained(study, models)


def histories(models):
    return expand(f"{R}/models/{{model}}/history.csv", model=models)


def refuse_taken(table):
    if table in {known.name for known in workflow.rules}:  # these are targets, too
        sys.exit(
            f"error: tables: {table!r} is the name of a rule of the workflow; give the table another one"
        )


def results_of(table):
    """The files that a table's name stands for as a target."""
    plots = [f"training/{table}"] * bool(trainings(table)) + [table] * ("plot" in study["tables"][table])
    return expand(f"{R}/tables/{table}.{{suffix}}", suffix=["csv", "md"]) + expand(
        f"{R}/plots/{{plot}}.{{suffix}}", plot=plots, suffix=["svg", "png"]
    )


def report_inputs(wildcards):
    """All that the report shows of what the tables are made from."""
    rows = [row for table in study["tables"].values() for row in table["rows"]]
    models, labels = lineage(study, [model for row in rows for model in row["models"]])
    used = [study["models"][model]["labelled"] for model in models]
    used += [study["labels"][name]["dataset"] for name in labels]
    used += [study["models"][model]["validation"] for model in models]
    sources_of_used = [source for name in dict.fromkeys(used) for source in made_of(study, name)]
    splits = [
        f"{R}/datasets/splits/{study['models'][model]['validation']}/{dataset}.json"
        for row in rows
        for model in row["models"]
        for dataset in trained_on(study, [model])
    ]
    evaluated = dict.fromkeys(path for table in study["tables"] for path in evaluations(table))
    return {
        "study": f"{R}/study.json",
        "tables": expand(f"{R}/tables/{{table}}.csv", table=study["tables"]),
        "evaluations": list(evaluated),
        "merged": [path.replace(f"{R}/evaluation/", f"{R}/merged/", 1) for path in evaluated],
        "labels": expand(
            f"{R}/labels/{{labels}}/{{file}}",
            labels=labels,
            file=["annotations.json", "thresholds.json", "review.csv", "next.csv"],
        ),
        "runs": expand(f"{R}/models/{{model}}/run.json", model=models),
        "histories": histories(trained(study, models)),
        "datasets": expand(
            f"{R}/datasets/{{dataset}}{{file}}", dataset=dict.fromkeys(used), file=[".json", ".stats.json"]
        ),
        "sources": expand(f"{R}/datasets/{{dataset}}.json", dataset=dict.fromkeys(sources_of_used)),
        "splits": list(dict.fromkeys(splits)),
        "generated_from": [merged_of(name) for name in labels],
    }
