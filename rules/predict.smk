# One job for each view and shard: tens of thousands in a large study. For each of them Snakemake calls the functions
# among its inputs and parameters; the fewer there are, the sooner it starts. They come before trainings that could
# begin as well: students wait for them.


rule detect_boxes:
    input:
        dataset=f"{R}/datasets/{{dataset}}.json",
        model=MODEL_TO_RUN,
    output:
        f"{R}/predictions/{{model}}/{{dataset}}/{{detected}}/{{shard}}.json",
    log:
        f"{R}/logs/predictions/{{model}}/{{dataset}}/{{detected}}/{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/predictions/{{model}}/{{dataset}}/{{detected}}/{{shard}}.tsv"
    wildcard_constraints:
        detected="boxes|detected",
    priority: 1
    conda:
        "../envs/distill.yaml"
    resources:
        gpu=GPU,
        mem_mb=8000,
        runtime=240,
    params:
        version=version("predict"),
        amp=AMP,
        view=HOW["views"][0],
        shards=lambda wildcards: len(SHARDS[wildcards.dataset]),
        fixed_boxes=json.dumps(HOW["fixed_boxes"]),
    shell:
        'python scripts/detect_boxes.py --model "$(dirname {input.model[0]:q})" --dataset {input.dataset:q}'
        " --view {params.view:q} --shard {wildcards.shard:q} --shards {params.shards:q} --fixed-boxes {params.fixed_boxes:q}"
        " --output {output:q}{params.amp} > {log:q} 2>&1"


# Where images are only to be labelled, boxes that cannot become labels get no heatmaps.
rule choose_boxes:
    input:
        dataset=lambda wildcards: dataset_file(wildcards.pair.split("/")[1]),
        labelled=lambda wildcards: map(dataset_file, MARGINS[wildcards.pair].labelled),
        detected=expand(f"{R}/predictions/{{{{pair}}}}/detected/{{shard}}.json", shard=ALL_SHARDS),
    output:
        boxes=expand(f"{R}/predictions/{{{{pair}}}}/boxes/{{shard}}.json", shard=ALL_SHARDS),
    log:
        f"{R}/logs/predictions/{{pair}}/boxes.log",
    wildcard_constraints:
        pair=one_of(MARGINS),
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        version=version("predict"),
        per_label=lambda wildcards: MARGINS[wildcards.pair].per_label,
        agnostic_nms=lambda wildcards: MARGINS[wildcards.pair].agnostic_nms,
    shell:
        "python scripts/choose_boxes.py --dataset {input.dataset:q} --labelled {input.labelled:q}"
        " --per-label {params.per_label:q} --agnostic-nms {params.agnostic_nms:q}"
        ' --output "$(dirname {output.boxes[0]:q})" {input.detected:q} > {log:q} 2>&1'


ruleorder: choose_boxes > detect_boxes


# {view}@{model}: predicted in the fixed boxes of that model.
rule infer_view_boxes:
    input:
        dataset=f"{R}/datasets/{{dataset}}.json",
        model=MODEL_TO_RUN,
        boxes=boxes_to_predict,
    output:
        f"{R}/predictions/{{model}}/{{dataset}}/{{view}}{{of}}/{{shard}}.json",
    log:
        f"{R}/logs/predictions/{{model}}/{{dataset}}/{{view}}{{of}}/{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/predictions/{{model}}/{{dataset}}/{{view}}{{of}}/{{shard}}.tsv"
    wildcard_constraints:
        model=models_of("boxes"),
    priority: 1
    conda:
        "../envs/distill.yaml"
    resources:
        gpu=GPU,
        mem_mb=8000,
        runtime=240,
    params:
        version=version("predict"),
        amp=AMP,
        shards=lambda wildcards: len(SHARDS[wildcards.dataset]),
    shell:
        'python scripts/predict_view.py --model "$(dirname {input.model[0]:q})" --dataset {input.dataset:q}'
        " --view {wildcards.view:q} --shard {wildcards.shard:q} --shards {params.shards:q} --boxes {input.boxes:q}"
        " --output {output:q}{params.amp} > {log:q} 2>&1"


# Heatmaps stay, or go once they are merged: `keep_heatmaps`.
use rule infer_view_boxes as infer_view_heatmaps with:
    output:
        f"{R}/predictions/{{model}}/{{dataset}}/{{view}}{{of}}/{{shard}}.h5",
    wildcard_constraints:
        model=models_of("keypoints"),
        shard=one_of(KEPT),


use rule infer_view_heatmaps as infer_view_temporary with:
    output:
        temp(f"{R}/predictions/{{model}}/{{dataset}}/{{view}}{{of}}/{{shard}}.h5"),
    wildcard_constraints:
        model=models_of("keypoints"),
        shard=one_of([shard for shard in ALL_SHARDS if shard not in KEPT]),
