# Runs only when asked for: `snakemake download`. What it gets is an input of no other rule (see dataset_files).


rule download:
    input:
        DOWNLOADED,
        WEIGHTS,


rule fetch_weights:
    output:
        "weights/{file}",
    log:
        f"{R}/logs/download/{{file}}.log",
    wildcard_constraints:
        file=one_of(map(os.path.basename, WEIGHTS)),
    localrule: True
    conda:
        "../envs/distill.yaml"
    params:
        url=lambda wildcards, output: published(ROOT)[output[0]]["url"],
        sha256=lambda wildcards, output: published(ROOT)[output[0]]["sha256"],
    shell:
        "python scripts/fetch_archive.py --url {params.url:q} --sha256 {params.sha256:q} --output {output:q}"
        " > {log:q} 2>&1"


rule fetch_archive:
    output:
        temp(data_file("{archive}.zip")),
    log:
        f"{R}/logs/download/{{archive}}.log",
    localrule: True
    conda:
        "../envs/distill.yaml"
    params:
        url=lambda wildcards: study["downloads"][wildcards.archive]["url"],
        md5=lambda wildcards: study["downloads"][wildcards.archive]["md5"],
        size=lambda wildcards: (
            f"--size {size}" if (size := study["downloads"][wildcards.archive].get("size")) else ""
        ),
    shell:
        "python scripts/fetch_archive.py --url {params.url:q} --md5 {params.md5:q} {params.size}"
        " --output {output:q} > {log:q} 2>&1"


# Only what is not there: before a job, Snakemake removes all of its outputs, and these may hold somebody's files.
for name, archive in study["downloads"].items():
    missing = [path for path in archive["contents"] if not os.path.exists(data_file(path))]
    if not missing:
        continue

    rule:
        name:
            f"extract_{name}"
        input:
            data_file(f"{name}.zip"),
        output:
            [directory(data_file(path)) if path.endswith("/") else data_file(path) for path in missing],
        log:
            f"{R}/logs/download/{name}.extract.log",
        localrule: True
        conda:
            "../envs/distill.yaml"
        params:
            names=missing,
            folder=subpath(input[0], parent=True),
        shell:
            "python scripts/extract_archive.py --archive {input:q} --folder {params.folder:q}"
            " {params.names:q} > {log:q} 2>&1"
