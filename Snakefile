from snakemake.utils import min_version

min_version("9.0")


# A configuration given on the command line replaces the demo instead of being mixed into it; one without datasets
# is a mistake.
if "datasets" not in config and not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config/config.yaml"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/download.smk"
include: "rules/datasets.smk"
include: "rules/train.smk"
include: "rules/predict.smk"
include: "rules/merge.smk"
include: "rules/calibrate.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        f"{R}/report.html",
        [results_of(table) for table in study["tables"]],


rule labels:
    input:
        expand(
            f"{R}/labels/{{labels}}/{{file}}",
            labels=study["labels"],
            file=["annotations.json", "review.csv", "next.csv"],
        ),


rule views:
    input:
        selections(),


for name in study["tables"]:
    refuse_taken(name)

    rule:
        name:
            name
        input:
            results_of(name),
