# What rules are given, stage by stage: functions of their wildcards. Snakemake wants them apart from rules.


# --- datasets ---


def dataset_files(wildcards):
    """The files and folders that a dataset is read from, but not the images of an annotation file; nor what `download`
    gets, which must not run unless asked for; nor what is missing, which the program then names."""
    spec = study["datasets"][wildcards.dataset]
    keys = ["annotations", "videos", "ids"] + (["images"] if spec["kind"] == "folder" else [])
    paths = [spec[key] for key in keys if isinstance(spec.get(key), str)]
    # A folder's time is that of what is in itself.
    if spec["kind"] == "voc":
        listed = voc.list_of(spec["annotations"], spec["split"]) if "split" in spec else None
        paths = list(filter(None, dict.fromkeys([*voc.places(spec["annotations"]), listed])))
    if spec["kind"] == "yolo":
        paths += yolo.places(spec["annotations"], spec["split"])
    if spec["kind"] in ("folder", "videos", "voc", "yolo"):
        paths += [folder for path in paths for folder in folders_in(path) if not is_of_results(folder)]
    return [path for path in paths if path not in DOWNLOADED and is_plain(path) and os.path.exists(path)]


def is_plain(path):
    """Whether Snakemake takes a path for what it is; braces would be wildcards."""
    return is_line(path) and not set("{}") & set(path)


def is_of_results(path):
    """Whether a folder is in that of the results, which changes with every job, or holds it: the first job makes it."""
    path, results = os.path.abspath(path), os.path.abspath(R)
    return os.path.commonpath([path, results]) in (path, results)


# --- train ---


MODEL_FILES = ["model.pth", "config.py", "history.csv", "run.json"]  # an imported one has no history


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


# How an ordinary test predicts, and so a training that is validated.
HOW = {
    "views": study["views"]["plain"],
    "fixed_boxes": {key: study["fixed_boxes"][key] for key in ("min_score", "per_image")},
    "merge": study["merged"]["plain"]["options"],
}


def validation(wildcards):
    """What a training that is validated is told of that: the dataset, and how it is predicted."""
    model = study["models"][wildcards.model]
    dataset = dataset_file(model["validation"])
    return [f"--validation={dataset}", f"--how={json.dumps(HOW)}"] if model["validate"] else []


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
    """A resource that depends on the model's options; on CPUs one process trains it."""
    alone = {} if GPU else {"gpus": 1, "nodes": 1}
    return lambda wildcards, attempt: value(study["models"][wildcards.model] | alone, attempt)


# --- predict ---


# By model/dataset: where boxes are detected only for labels of keypoints.
MARGINS = {f"{model}/{dataset}": margin for (model, dataset), margin in margins(study).items()}
KEPT = {"all": ALL_SHARDS, "none": []}.get(str(study["keep_heatmaps"]))
if KEPT is None:
    KEPT = [f"{shard:03d}" for shard in study["keep_heatmaps"]]
AMP = " --amp" if study["predict_amp"] else ""
MODEL_TO_RUN = expand(f"{R}/models/{{{{model}}}}/{{file}}", file=["model.pth", "config.py"])


def boxes_to_predict(wildcards):
    """The shard's fixed boxes that a view is predicted in: those of the model after the @, or those of a keypoint
    model. A box model needs none: it proposes boxes under every view."""
    own = boxes_of(study["models"], wildcards.model) if has_keypoints(wildcards) else ""
    owner = wildcards.of.removeprefix("@") or own
    return [f"{R}/predictions/{owner}/{wildcards.dataset}/boxes/{wildcards.shard}.json"] if owner else []


# --- merge ---


# Whose predictions are merged: a model's, or those of all teachers of a label set.
MERGED_MODELS = one_of(
    [*study["models"], *(entry["together"] for entry in study["labels"].values() if entry["teachers"])]
)


def boxes_to_merge(wildcards):
    """The shard's fixed boxes, in which all views and all teachers have predicted heatmaps; box models have none."""
    first = boxes_of(study["models"], wildcards.model.split("+")[0])
    boxes = f"{R}/predictions/{first}/{wildcards.dataset}/boxes/{wildcards.shard}.json"
    return [boxes] if has_keypoints(wildcards) else []


def predictions(wildcards):
    """The predictions of a shard, or of all shards, under every view of the set by every model of a+b."""
    merged, ending = study["merged"][wildcards.views], "h5" if has_keypoints(wildcards) else "json"
    return [
        f"{R}/predictions/{model}/{wildcards.dataset}/{view}/{shard}.{ending}"
        for model, view in merged_from(
            study, wildcards.model.split("+"), merged["views"], merged["options"]["boxes"]
        )
        for shard in ([wildcards.shard] if "shard" in wildcards.keys() else SHARDS[wildcards.dataset])
    ]


def merge_options(wildcards):
    return json.dumps(study["merged"][wildcards.views]["options"])


def merge_meaning(wildcards):
    options = study["merged"][wildcards.views]["options"]
    return json.dumps(reruns.of_merge(options, "keypoints" if has_keypoints(wildcards) else "boxes", ROOT))


def given_inputs(wildcards):
    """Other programs' predictions, those that are there (the program names the others), and their datasets."""
    labels = study["labels"][wildcards.labels]
    return {
        "predictions": [path for path in labels["predictions"] if os.path.exists(path)],
        "dataset": dataset_file(labels["dataset"]),
        "sources": [dataset_file(name) for name in dict.fromkeys(origins(study, labels["dataset"]))],
        "labelled": dataset_file(labels["labelled"]),
    }


def given_options(wildcards):
    """The merge options; `plain`, which is of heatmaps, is that of all."""
    plain = next(iter(study["merged"].values()))["options"]["plain"]
    return {**study["labels"][wildcards.labels]["merge"], "plain": plain}


# --- calibrate ---


def label_inputs(wildcards):
    labels = study["labels"][wildcards.labels]
    return {
        "merged": f"{R}/{merged_file(study, wildcards.labels)}",
        "dataset": dataset_file(labels["dataset"]),
        "labelled": dataset_file(labels["labelled"]),
    }


def fingerprints_of_labels(wildcards):
    """Of the unlabelled images, and of the labelled ones."""
    labels = study["labels"][wildcards.labels]
    return [f"{R}/datasets/fingerprints/{labels[key]}.json" for key in ("dataset", "labelled")]


def calibration(wildcards):
    return study["labels"][wildcards.labels]["calibrate"]


def validated_for_labels(wildcards):
    """What says which scores to believe, where labels aim at that: predictions like theirs, of annotated images."""
    labels = study["labels"][wildcards.labels]
    if labels["calibrate"]["aim"] != "validation":
        return []
    tested = study["models"][labels["teacher"]]["validation"]
    return [f"{R}/merged/{labels['together']}/{tested}/{labels['merged']}.json", dataset_file(tested)]


def of_labelled(wildcards):
    """Of the version: with agnostic_nms, what is made before is of categories too of which nothing is labelled."""
    return "" if calibration(wildcards)["agnostic_nms"] is None else ", of labelled categories"


# --- evaluate ---


def images_only(wildcards):
    """An option of the check, where only a model that others start from has learned from the dataset."""
    return [] if wildcards.dataset in categories_from(study, wildcards.validation) else ["--images-only"]


def split_checks(wildcards):
    """The files that prove that no image of the validation set is among those that the models, or what they come from,
    are trained on here."""
    used = trained_on(study, wildcards.model.split("+"))
    return expand(f"{R}/datasets/splits/{{{{dataset}}}}/{{training}}.json", training=used)


def selections():
    """The view selection for every label set: of its teachers' predictions under its views on the validation set."""
    models = study["models"]
    return [
        f"{R}/selection/{entry['together']}/{models[entry['teacher']]['validation']}/{entry['merged']}.csv"
        for entry in study["labels"].values()
        if entry["teachers"]
    ]


# --- report ---


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
    sources_of_used = [source for name in dict.fromkeys(used) for source in origins(study, name)]
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
        "generated_from": [f"{R}/{merged_file(study, name)}" for name in labels],
    }
