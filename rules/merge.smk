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
