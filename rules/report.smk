rule study:
    output:
        f"{R}/study.json",
    log:
        f"{R}/logs/study.log",
    localrule: True
    params:
        study=reruns.of_study(study, ROOT),
    run:
        write_json(output[0], study)


rule tabulate:
    input:
        lambda wildcards: evaluations(wildcards.table),
    output:
        csv=f"{R}/tables/{{table}}.csv",
        markdown=f"{R}/tables/{{table}}.md",
    log:
        f"{R}/logs/tables/{{table}}.log",
    localrule: True
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=version("report"),
        meaning=lambda wildcards: json.dumps(reruns.of_table(study["tables"][wildcards.table], ROOT)),
        spec=untracked(lambda wildcards: json.dumps(study["tables"][wildcards.table])),
    shell:
        "python scripts/make_table.py --name {wildcards.table:q} --spec {params.spec:q} --evaluations {input:q}"
        " --output {output.csv:q} > {log:q} 2>&1"


rule plot_table:
    input:
        f"{R}/tables/{{table}}.csv",
    output:
        svg=f"{R}/plots/{{table}}.svg",
        png=f"{R}/plots/{{table}}.png",
    log:
        f"{R}/logs/plots/{{table}}.log",
    wildcard_constraints:
        table=one_of([name for name, table in study["tables"].items() if "plot" in table]),
    localrule: True
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=version("report"),
        options=lambda wildcards: json.dumps(study["tables"][wildcards.table]["plot"]),
    shell:
        "python scripts/plot_table.py --table {input:q} --options {params.options:q} --output {output.svg:q}"
        " > {log:q} 2>&1"


rule plot_training:
    input:
        lambda wildcards: histories(trainings(wildcards.table)),
    output:
        svg=f"{R}/plots/training/{{table}}.svg",
        png=f"{R}/plots/training/{{table}}.png",
    log:
        f"{R}/logs/plots/training/{{table}}.log",
    localrule: True
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        version=version("report"),
        histories=lambda wildcards, input: [
            f"{family(study, name)}={path}" for name, path in zip(trainings(wildcards.table), input)
        ],
    shell:
        "python scripts/plot_training.py --output {output.svg:q} {params.histories:q} > {log:q} 2>&1"


rule report:
    input:
        unpack(report_inputs),
    output:
        f"{R}/report.html",
    log:
        f"{R}/logs/report.log",
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        version=version("report"),
        results=subpath(output[0], parent=True),
    shell:
        "python scripts/write_report.py --study {input.study:q} --results {params.results:q} --output {output:q}"
        " > {log:q} 2>&1"
