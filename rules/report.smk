localrules:
    study,
    tabulate,
    plot_table,
    plot_training,


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


rule study:
    output:
        f"{R}/study.json",
    log:
        f"{R}/logs/study.log",
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
        results=lambda wildcards, output: Path(output[0]).parent,
    shell:
        "python scripts/write_report.py --study {input.study:q} --results {params.results:q} --output {output:q}"
        " > {log:q} 2>&1"
