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


# A training that is validated predicts as in a test.
HOW = {
    "views": study["views"]["plain"],
    "fixed_boxes": study["fixed_boxes"],
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
    """A resource that depends on the model's options."""
    return lambda wildcards, attempt: value(study["models"][wildcards.model], attempt)


rule train_teacher:
    input:
        unpack(model_inputs),
    output:
        expand(f"{R}/models/{{{{model}}}}/{{file}}", file=MODEL_FILES),
    log:
        f"{R}/logs/models/{{model}}.log",
    benchmark:
        f"{R}/benchmarks/models/{{model}}.tsv"
    wildcard_constraints:
        model=models_of(role="teacher"),
    conda:
        "../envs/distill.yaml"
    threads: study["threads"]
    resources:
        gpu=training_resource(lambda model, attempt: GPU * model["gpus"] * model["nodes"]),
        mem_mb=training_resource(lambda model, attempt: attempt * 16000 * model["gpus"]),
        runtime=24 * 60,
        # Of several nodes, Slurm starts one task on each, and gives each as many GPUs.
        gres=training_resource(
            lambda model, attempt: f"gpu:{model['gpus']}" if GPU and model["nodes"] > 1 else None
        ),
        nodes=training_resource(lambda model, attempt: model["nodes"]),
        mpi=training_resource(lambda model, attempt: "srun" if model["nodes"] > 1 else None),
        tasks=training_resource(lambda model, attempt: model["nodes"] if model["nodes"] > 1 else None),
        tasks_per_gpu=training_resource(lambda model, attempt: 0 if model["nodes"] > 1 else None),
    params:
        version=version("train"),
        meaning=lambda wildcards: reruns.of_training(study["models"][wildcards.model], ROOT, HOW),
        options=lambda wildcards, input: [
            f"--{key}={input[key]}" for key in ("labels", "init") if key in input.keys()
        ],
        launcher=launcher,
        config=untracked(config_file),
        spec=untracked(lambda wildcards: json.dumps(training(study["models"][wildcards.model]))),
        validation=untracked(validation),
        threads=untracked(study["threads"]),
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "export OMP_NUM_THREADS={params.threads}; exec {params.launcher} scripts/train.py --name {wildcards.model:q}"
        " --config {params.config:q} --spec {params.spec:q} --labelled {input.labelled:q}"
        " {params.options:q} {params.validation:q} --work {params.folder:q}.work --output {params.folder:q} > {log:q} 2>&1"


use rule train_teacher as retrain_student with:
    wildcard_constraints:
        model=models_of(role="student"),


rule import_model:
    input:
        unpack(model_inputs),
    output:
        expand(f"{R}/models/{{{{model}}}}/{{file}}", file=["model.pth", "config.py", "run.json"]),
    log:
        f"{R}/logs/models/{{model}}.log",
    wildcard_constraints:
        model=models_of(role="imported"),
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        version=version("import"),
        config=untracked(config_file),
        spec=lambda wildcards: json.dumps(study["models"][wildcards.model]["import"]),
        folder=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python scripts/import_model.py --name {wildcards.model:q} --config {params.config:q} --spec {params.spec:q}"
        " --labelled {input.labelled:q} --output {params.folder:q} > {log:q} 2>&1"


# Said before any job runs, not by a training that has waited for its GPU.
onstart:
    trainings = [
        job
        for job in workflow.dag.needrun_jobs()
        if job.rule.name in ("train_teacher", "retrain_student")
    ]
    models = [study["models"][job.wildcards.model] for job in trainings]
    if missing := [path for path in weights_of(models, ROOT) if not os.path.exists(path)]:
        sys.exit(
            f"error: {', '.join(missing)}: no such file; `snakemake … -- download` gets what `init: pretrained` needs"
        )
    if absent := missing_packages(name for model in models for name in model["tracking"]):
        sys.exit(
            f"error: tracking: there is no {absent[0]} here; pip install {absent[0]}, or leave it out"
        )
