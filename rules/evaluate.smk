rule evaluate:
    input:
        dataset=f"{R}/datasets/{{dataset}}.json",
        predictions=f"{R}/merged/{{model}}/{{dataset}}/{{views}}.json",
        splits=split_checks,
    output:
        f"{R}/evaluation/{{model}}/{{dataset}}/{{views}}.json",
    log:
        f"{R}/logs/evaluation/{{model}}/{{dataset}}/{{views}}.log",
    benchmark:
        f"{R}/benchmarks/evaluation/{{model}}/{{dataset}}/{{views}}.tsv"
    wildcard_constraints:
        dataset=one_of(study["evaluate"]["on"]),
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        version=version("evaluate"),
        task=untracked(lambda wildcards: "keypoints" if has_keypoints(wildcards) else "boxes"),
    shell:
        "python scripts/evaluate.py --dataset {input.dataset:q} --predictions {input.predictions:q}"
        " --task {params.task:q} --output {output:q} > {log:q} 2>&1"


# Any model, annotated dataset and view set can be asked for by path; the target `views` has those of the labels.
rule select_views:
    input:
        dataset=f"{R}/datasets/{{dataset}}.json",
        predictions=predictions,
        splits=split_checks,
    output:
        csv=f"{R}/selection/{{model}}/{{dataset}}/{{views}}.csv",
        markdown=f"{R}/selection/{{model}}/{{dataset}}/{{views}}.md",
        svg=f"{R}/selection/{{model}}/{{dataset}}/{{views}}.svg",
    log:
        f"{R}/logs/selection/{{model}}/{{dataset}}/{{views}}.log",
    wildcard_constraints:
        model=MERGED_MODELS,
    conda:
        "../envs/distill.yaml"
    threads: 8
    resources:
        mem_mb=16000,
        runtime=24 * 60,
    params:
        version=version("evaluate"),
        meaning=merge_meaning,
        options=untracked(merge_options),
    shell:
        "python scripts/select_views.py --dataset {input.dataset:q} --options {params.options:q}"
        " --processes {threads} --output {output.csv:q} {input.predictions:q} > {log:q} 2>&1"
