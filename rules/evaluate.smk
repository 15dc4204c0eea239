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
    shell:
        "python scripts/evaluate.py --dataset {input.dataset} --predictions {input.predictions}"
        " --output {output} > {log} 2>&1"
