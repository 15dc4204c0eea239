localrules:
    study,
    tabulate,


rule study:
    output:
        f"{R}/study.json",
    log:
        f"{R}/logs/study.log",
    params:
        study=hashlib.sha256(json.dumps(study).encode()).hexdigest(),
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
        spec=table_spec,
    shell:
        "python scripts/make_table.py --name {wildcards.table} --spec {params.spec:q} --evaluations {input}"
        " --output {output.csv} > {log} 2>&1"


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
        "python scripts/report.py --study {input.study} --results {params.results} --output {output}"
        " > {log} 2>&1"
