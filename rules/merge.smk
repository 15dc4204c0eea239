rule merge_views:
    input:
        dataset=f"{R}/datasets/{{dataset}}.json",
        boxes=boxes_to_merge,
        predictions=predictions,
    output:
        f"{R}/merged/{{model}}/{{dataset}}/{{views}}/{{shard}}.json",
    log:
        f"{R}/logs/merged/{{model}}/{{dataset}}/{{views}}/{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/merged/{{model}}/{{dataset}}/{{views}}/{{shard}}.tsv"
    wildcard_constraints:
        model=MERGED_MODELS,
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        version=version("merge"),
        meaning=merge_meaning,
        options=untracked(merge_options),
    shell:
        "python scripts/merge_views.py --dataset {input.dataset:q} --options {params.options:q} --boxes {input.boxes:q}"
        " --output {output:q} {input.predictions:q} > {log:q} 2>&1"


rule gather_shards:
    input:
        collect(
            f"{R}/merged/{{model}}/{{dataset}}/{{views}}/{{shard}}.json",
            shard=lookup(dpath="{dataset}", within=SHARDS),
            allow_missing=True,
        ),
    output:
        f"{R}/merged/{{model}}/{{dataset}}/{{views}}.json",
    log:
        f"{R}/logs/merged/{{model}}/{{dataset}}/{{views}}.log",
    wildcard_constraints:
        model=MERGED_MODELS,
        dataset=one_of([name for name in study["datasets"] if name not in study["selected"]]),
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=version("merge"),
    shell:
        "python scripts/gather_shards.py --output {output:q} {input:q} > {log:q} 2>&1"


# Of a subset that shares the predictions of the dataset that it is of.
rule select_predictions:
    input:
        dataset=f"{R}/datasets/{{dataset}}.json",
        merged=lambda wildcards: f"{R}/merged/{{model}}/{study['selected'][wildcards.dataset]}/{{views}}.json",
    output:
        f"{R}/merged/{{model}}/{{dataset}}/{{views}}.json",
    log:
        f"{R}/logs/merged/{{model}}/{{dataset}}/{{views}}.log",
    wildcard_constraints:
        model=MERGED_MODELS,
        dataset=one_of(study["selected"]),
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=version("merge"),
    shell:
        "python scripts/select_predictions.py --dataset {input.dataset:q} --merged {input.merged:q}"
        " --output {output:q} > {log:q} 2>&1"


# Of other programs, in the place of a teacher.
rule merge_predictions:
    input:
        unpack(given_inputs),
    output:
        f"{R}/labels/{{labels}}/predictions.json",
    log:
        f"{R}/logs/labels/{{labels}}/predictions.log",
    benchmark:
        f"{R}/benchmarks/labels/{{labels}}/predictions.tsv"
    wildcard_constraints:
        labels=one_of([name for name, entry in study["labels"].items() if "predictions" in entry]),
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=lambda wildcards, input: max(8000, round(13 * input.size_mb)),  # records are read as a whole
        runtime=60,
    params:
        version=version("merge"),
        meaning=lambda wildcards: json.dumps(reruns.of_merge(given_options(wildcards), "boxes", ROOT)),
        posed=lambda wildcards: " --posed" if study["labels"][wildcards.labels]["posed"] else "",
        files=lambda wildcards: study["labels"][wildcards.labels]["predictions"],
        options=untracked(lambda wildcards: json.dumps(given_options(wildcards))),
    shell:
        "python scripts/merge_predictions.py --dataset {input.dataset:q} --sources {input.sources:q}"
        " --labelled {input.labelled:q} --options {params.options:q}{params.posed} --output {output:q}"
        " -- {params.files:q} > {log:q} 2>&1"
