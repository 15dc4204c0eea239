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
        folder=subpath(output[0], parent=True),
    shell:
        "export OMP_NUM_THREADS={params.threads}; exec {params.launcher} scripts/train.py --name {wildcards.model:q}"
        " --config {params.config:q} --spec {params.spec:q} --labelled {input.labelled:q}"
        " {params.options:q} {params.validation:q} --version {params.version:q} --work {params.folder:q}.work --output {params.folder:q} > {log:q} 2>&1"


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
        version=import_version,
        config=untracked(config_file),
        spec=lambda wildcards: json.dumps(study["models"][wildcards.model]["import"]),
        folder=subpath(output[0], parent=True),
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
    if GPU and any(model["nodes"] > 1 for model in models) and not shutil.which("srun"):
        sys.exit("error: nodes: a training on several needs Slurm, whose srun is not here")
    outside = {
        job.wildcards.model: study["models"][job.wildcards.model]
        for job in trainings
        if model_config.is_outside(study["models"][job.wildcards.model]["config"])
    }
    # What they say is code, which only a process of its own runs; conda may have it in an environment of the jobs.
    if outside and importlib.util.find_spec("mmdet"):
        check = ["scripts/check_models.py", "--models", json.dumps(outside)]
        if subprocess.run([sys.executable, *check]).returncode:
            sys.exit(1)
    if absent := missing_packages(name for model in models for name in model["tracking"]):
        sys.exit(
            f"error: tracking: there is no {absent[0]} here; pip install {absent[0]}, or leave it out"
        )
