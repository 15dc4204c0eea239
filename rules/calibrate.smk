rule calibrate_threshold:
    input:
        unpack(label_inputs),
        validated=validated_for_labels,
    output:
        f"{R}/labels/{{labels}}/thresholds.json",
    log:
        f"{R}/logs/labels/{{labels}}/thresholds.log",
    benchmark:
        f"{R}/benchmarks/labels/{{labels}}/thresholds.tsv"
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        version=lambda wildcards: version("calibrate") + of_labelled(wildcards),
        meaning=lambda wildcards: json.dumps(reruns.of_calibration(calibration(wildcards), ROOT)),
        options=untracked(lambda wildcards: json.dumps(calibration(wildcards))),
    shell:
        "python scripts/calibrate_threshold.py --merged {input.merged:q} --dataset {input.dataset:q}"
        " --labelled {input.labelled:q} --validated {input.validated:q} --options {params.options:q}"
        " --output {output:q} > {log:q} 2>&1"


rule generate_labels:
    input:
        unpack(label_inputs),
        thresholds=f"{R}/labels/{{labels}}/thresholds.json",
    output:
        f"{R}/labels/{{labels}}/annotations.json",
    log:
        f"{R}/logs/labels/{{labels}}/annotations.log",
    benchmark:
        f"{R}/benchmarks/labels/{{labels}}/annotations.tsv"
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        version=version("calibrate"),
    shell:
        "python scripts/generate_labels.py --merged {input.merged:q} --dataset {input.dataset:q}"
        " --labelled {input.labelled:q} --thresholds {input.thresholds:q} --output {output:q} > {log:q} 2>&1"


rule review_labels:
    input:
        unpack(label_inputs),
        thresholds=f"{R}/labels/{{labels}}/thresholds.json",
        fingerprints=fingerprints_of_labels,
    output:
        review=f"{R}/labels/{{labels}}/review.csv",
        next_images=f"{R}/labels/{{labels}}/next.csv",
    log:
        f"{R}/logs/labels/{{labels}}/review.log",
    benchmark:
        f"{R}/benchmarks/labels/{{labels}}/review.tsv"
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        version=version("review"),
        folder=subpath(output.review, parent=True),
    shell:
        "python scripts/review_labels.py --merged {input.merged:q} --dataset {input.dataset:q}"
        " --labelled {input.labelled:q} --fingerprints {input.fingerprints:q} --thresholds {input.thresholds:q}"
        " --output {params.folder:q} > {log:q} 2>&1"
