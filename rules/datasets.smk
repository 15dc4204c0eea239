rule split_data:
    input:
        sources=lambda wildcards: [
            dataset_file(name) for name in sources(study["datasets"][wildcards.dataset])
        ],
        files=dataset_files,
    output:
        f"{R}/datasets/{{dataset}}.json",
    log:
        f"{R}/logs/datasets/{{dataset}}.log",
    benchmark:
        f"{R}/benchmarks/datasets/{{dataset}}.tsv"
    priority: 100
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        version=version("dataset"),
        meaning=lambda wildcards: reruns.of_dataset(study["datasets"][wildcards.dataset], ROOT),
        spec=untracked(lambda wildcards: json.dumps(study["datasets"][wildcards.dataset])),
        sources=lambda wildcards, input: [f"--source={Path(path).stem}={path}" for path in input.sources],
        images=subpath(output[0], strip_suffix=".json"),
    shell:
        "python scripts/split_data.py --name {wildcards.dataset:q} --spec {params.spec:q} {params.sources:q}"
        " --images {params.images:q} --output {output:q} > {log:q} 2>&1"


rule describe_dataset:
    input:
        f"{R}/datasets/{{dataset}}.json",
    output:
        f"{R}/datasets/{{dataset}}.stats.json",
    log:
        f"{R}/logs/datasets/{{dataset}}.stats.log",
    localrule: True
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        version=version("dataset"),
    shell:
        "python scripts/describe_dataset.py --dataset {input:q} --output {output:q} > {log:q} 2>&1"


# What images show costs as much as to read them once more, and is asked for of those alone that are trained or
# tested on, or labelled.
rule fingerprint_images:
    input:
        f"{R}/datasets/{{dataset}}.json",
    output:
        f"{R}/datasets/fingerprints/{{dataset}}.json",
    log:
        f"{R}/logs/datasets/fingerprints/{{dataset}}.log",
    benchmark:
        f"{R}/benchmarks/datasets/fingerprints/{{dataset}}.tsv"
    priority: 100
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=240,
    params:
        version=version("fingerprint"),
    shell:
        "python scripts/fingerprint_images.py --dataset {input:q} --output {output:q} > {log:q} 2>&1"


# Needed by evaluations, not by trainings: a changed validation set must not retrain a model, but where labels aim at
# it. Its priority has it run before the trainings nevertheless. (An input marked ancient() would hide other changes of
# a training from Snakemake in a run in which the validation set changes too.)
rule check_splits:
    input:
        validation=f"{R}/datasets/{{validation}}.json",
        training=f"{R}/datasets/{{dataset}}.json",
        fingerprints=[
            f"{R}/datasets/fingerprints/{{validation}}.json",
            f"{R}/datasets/fingerprints/{{dataset}}.json",
        ],
    output:
        f"{R}/datasets/splits/{{validation}}/{{dataset}}.json",
    log:
        f"{R}/logs/datasets/splits/{{validation}}/{{dataset}}.log",
    priority: 100
    localrule: True
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        version=lambda wildcards: " ".join([version("dataset"), *images_only(wildcards)]),
        categories=untracked(images_only),
    shell:
        "python scripts/check_splits.py --validation {input.validation:q} --training {input.training:q}"
        " --fingerprints {input.fingerprints:q} --output {output:q} {params.categories:q} > {log:q} 2>&1"
