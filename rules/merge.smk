# Whose predictions are merged: a model's, or those of all teachers of a label set.
MERGED_MODELS = one_of(
    [*study["models"], *(entry["together"] for entry in study["labels"].values() if entry["teachers"])]
)


def boxes_to_merge(wildcards):
    """The shard's fixed boxes, in which all views and all teachers have predicted heatmaps; box models have none."""
    first = boxes_of(study["models"], wildcards.model.split("+")[0])
    boxes = f"{R}/predictions/{first}/{wildcards.dataset}/boxes/{wildcards.shard}.json"
    return [boxes] if has_keypoints(wildcards) else []


def predictions(wildcards):
    """The predictions of a shard, or of all shards, under every view of the set by every model of a+b; where the models
    share boxes, those of the first."""
    first, *others = wildcards.model.split("+")
    merged, keypoints = study["merged"][wildcards.views], has_keypoints(wildcards)
    owner = boxes_of(study["models"], first)
    shared = f"@{owner}" if keypoints or merged["options"]["boxes"] == "average" else ""
    own = "" if keypoints and owner == first else shared
    return [
        f"{R}/predictions/{model}/{wildcards.dataset}/{view}{of}/{shard}.{'h5' if keypoints else 'json'}"
        for model, of in [(first, own), *((other, shared) for other in others)]
        for view in study["views"][merged["views"]]
        for shard in ([wildcards.shard] if "shard" in wildcards.keys() else SHARDS[wildcards.dataset])
    ]


def merge_options(wildcards):
    return json.dumps(study["merged"][wildcards.views]["options"])


def merge_meaning(wildcards):
    options = study["merged"][wildcards.views]["options"]
    return json.dumps(reruns.of_merge(options, "keypoints" if has_keypoints(wildcards) else "boxes", ROOT))


def given_inputs(wildcards):
    """Other programs' predictions, those that are there (the program names the others), and their datasets."""
    labels = study["labels"][wildcards.labels]
    return {
        "predictions": [path for path in labels["predictions"] if os.path.exists(path)],
        "dataset": dataset_file(labels["dataset"]),
        "sources": [dataset_file(name) for name in dict.fromkeys(made_of(study, labels["dataset"]))],
        "labelled": dataset_file(labels["labelled"]),
    }


def given_options(wildcards):
    """The merge options; `plain`, which is of heatmaps, is that of all."""
    plain = next(iter(study["merged"].values()))["options"]["plain"]
    return {**study["labels"][wildcards.labels]["merge"], "plain": plain}


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


# Of other programs, in the place of a teacher.
rule merge_predictions:
    input:
        unpack(given_inputs),
    output:
        f"{R}/labels/{{labels}}/predictions.json",
    log:
        f"{R}/logs/labels/{{labels}}/predictions.log",
    benchmark:
        f"{R}/benchmarks/labels/{{labels}}/predictions.tsv"
    wildcard_constraints:
        labels=one_of([name for name, entry in study["labels"].items() if "predictions" in entry]),
    conda:
        "../envs/distill.yaml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        version=version("merge"),
        meaning=lambda wildcards: json.dumps(reruns.of_merge(given_options(wildcards), "boxes", ROOT)),
        posed=lambda wildcards: " --posed" if study["labels"][wildcards.labels]["posed"] else "",
        files=lambda wildcards: study["labels"][wildcards.labels]["predictions"],
        options=untracked(lambda wildcards: json.dumps(given_options(wildcards))),
    shell:
        "python scripts/merge_predictions.py --dataset {input.dataset:q} --sources {input.sources:q}"
        " --labelled {input.labelled:q} --options {params.options:q}{params.posed} --output {output:q}"
        " -- {params.files:q} > {log:q} 2>&1"
