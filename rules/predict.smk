# One job for each view and shard. Changing the device runs nothing again.


rule detect_boxes:
    input:
        dataset=f"{R}/datasets/{{dataset}}.json",
        model=model_files,
    output:
        f"{R}/predictions/{{model}}/{{dataset}}/boxes/{{shard}}.json",
    log:
        f"{R}/logs/predictions/{{model}}/{{dataset}}/boxes/{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/predictions/{{model}}/{{dataset}}/boxes/{{shard}}.tsv"
    conda:
        "../envs/distill.yaml"
    resources:
        gpu=GPU,
        mem_mb=8000,
        runtime=240,
    params:
        version=version("predict"),
        view=study["views"]["plain"][0],
        shards=study["shards"],
        candidates=json.dumps(study["candidates"]),
        device=untracked(study["device"]),
        model=lambda wildcards, input: Path(input.model[0]).parent,
    shell:
        "python scripts/detect_boxes.py --model {params.model} --dataset {input.dataset} --view {params.view}"
        " --shard {wildcards.shard} --shards {params.shards} --candidates {params.candidates:q}"
        " --device {params.device} --output {output} > {log} 2>&1"


# In {view}@{model}: predicted in the boxes of that model, which views or teachers share.
rule infer_view_boxes:
    input:
        dataset=f"{R}/datasets/{{dataset}}.json",
        model=model_files,
        boxes=boxes_to_predict,
    output:
        f"{R}/predictions/{{model}}/{{dataset}}/{{view}}{{of}}/{{shard}}.json",
    log:
        f"{R}/logs/predictions/{{model}}/{{dataset}}/{{view}}{{of}}/{{shard}}.log",
    benchmark:
        f"{R}/benchmarks/predictions/{{model}}/{{dataset}}/{{view}}{{of}}/{{shard}}.tsv"
    wildcard_constraints:
        model=models_of("boxes"),
    conda:
        "../envs/distill.yaml"
    resources:
        gpu=GPU,
        mem_mb=8000,
        runtime=240,
    params:
        version=version("predict"),
        shards=study["shards"],
        device=untracked(study["device"]),
        model=lambda wildcards, input: Path(input.model[0]).parent,
        boxes=lambda wildcards, input: f"--boxes {input.boxes}" if input.boxes else "",
    shell:
        "python scripts/infer_view.py --model {params.model} --dataset {input.dataset} --view {wildcards.view}"
        " --shard {wildcards.shard} --shards {params.shards} {params.boxes} --device {params.device}"
        " --output {output} > {log} 2>&1"


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
        shard=one_of([shard for shard in SHARDS if shard not in KEPT]),
