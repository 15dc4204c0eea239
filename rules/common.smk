import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from snakemake.utils import update_config

ROOT = Path(workflow.basedir)
sys.path.append(str(ROOT / "scripts"))  # last: scripts/ holds programs that must hide no package
if not os.path.samefile(os.getcwd(), ROOT):
    sys.exit(
        f"error: run snakemake in {ROOT}, whose programs it calls; `results:` of a study may be anywhere"
    )

from distill.datasets import voc, yolo
from distill.datasets.images import folders_in
from distill.study import model_config, reruns
from distill.files import write_json
from distill.study.lineage import categories_from, lineage, merged_file, origins, trained, trained_on
from distill.study.needs import margins, merged_from, missing_packages, shards_of
from distill.study.paths import check_checkpoints, check_results, in_data
from distill.program import UserError
from distill.strict import is_line
from distill.study.pretrained import published, weights_of
from distill.study.references import boxes_of, sources
from distill.study.seeds import family
from distill.study.resolve import read, resolve, training

# The programs run in the environment of Snakemake itself, unless conda puts another one in front.
# Snakemake asks our squeue for the state of its jobs.
PROGRAMS = [Path(sys.executable).parent, ROOT / "slurm/bin"]
os.environ.update(PATH=":".join([*map(str, PROGRAMS), os.environ.get("PATH", "")]))

# Slurm signals every process of a job before its time limit, and Snakemake and shells would die of it: the signal
# is for the training, which writes a checkpoint and has the job requeued.
signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# Raise a number when the meaning of a stage changes: its results are then made anew, with all that follows.
# Other changes of the code run nothing again.
VERSIONS = {
    "dataset": 1,
    "fingerprint": 1,
    "train": 1,
    "import": 1,
    "predict": 1,
    "merge": 1,
    "calibrate": 1,
    "review": 3,
    "evaluate": 4,
    "report": 7,
}


def typed(value):
    """Snakemake takes all that is nested in --config for text: 'seeds=[0, 1]'. Of it, what can be nothing else is a
    number, true, false or null; quotes are gone already."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return list(map(typed, value))
    plain = isinstance(value, str) and re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?|true|false|null", value, re.A)
    return json.loads(value) if plain else value


nested = {
    key: value for key, value in workflow.config_settings.config.items() if isinstance(value, dict | list)
}
update_config(config, typed(nested))

try:
    for path in (*workflow.configfiles, *workflow.overwrite_configfiles):
        read(Path(path))  # again, and strictly: Snakemake keeps the last of two equal keys
    study = resolve(config, ROOT)
    check_results(study["results"])
    if not workflow.remote_exec:  # a job of a cluster names what it misses
        check_checkpoints(study)
except UserError as error:
    sys.exit(f"error: {error}")

R = study["results"]
os.environ.update(DISTILL_DEVICE=study["device"])  # no parameter of a job: its change runs nothing again
# Where short jobs find a process to be forks of (distill.forks); it goes with this run. A job of a cluster has a
# Snakemake of its own, which runs nothing else: for one fork, a process would be in vain, and another job's is not its.
if workflow.remote_exec:
    os.environ.pop("DISTILL_FORKS", None)
else:
    FORKS = tempfile.TemporaryDirectory(prefix="distill-")
    os.environ.update(DISTILL_FORKS=FORKS.name)
SHARDS = {name: [f"{shard:03d}" for shard in range(shards_of(study, name))] for name in study["datasets"]}
ALL_SHARDS = max(SHARDS.values(), key=len)
GPU = 0 if study["device"] == "cpu" else 1


def version(stage):
    return f"{stage} {VERSIONS[stage]}"


def import_version(wildcards):
    """With what packages say of a config of theirs; one of this project's, or of the user's, may gain options."""
    packaged = model_config.packaged(study["models"][wildcards.model]["config"], ROOT)
    return version("import") + (f" {packaged}" if packaged else "")


def one_of(names):
    """The pattern of a wildcard that is one of the names; without names it matches nothing."""
    return "|".join(map(re.escape, names)) or "(?!)"


def models_of(task=None, role=None):
    """The pattern of models of a task, or of a role: imported, teacher or student."""
    roles = {
        name: "imported" if "import" in model else "student" if model["labels"] else "teacher"
        for name, model in study["models"].items()
    }
    return one_of(
        name
        for name, model in study["models"].items()
        if task in (None, model["task"]) and role in (None, roles[name])
    )


def untracked(value):
    """A parameter that decides how a job runs but not what it makes. A change of it runs nothing again, since Snakemake
    does not compare parameters that depend on resources."""
    return lambda wildcards, resources: value(wildcards) if callable(value) else value


wildcard_constraints:
    dataset=one_of(study["datasets"]),
    validation=one_of(study["datasets"]),
    model=models_of(),
    of=f"(@({models_of()}))?",
    archive=one_of(study["downloads"]),
    labels=one_of(study["labels"]),
    views=one_of(study["merged"]),
    view=one_of({view for views in study["views"].values() for view in views}),
    shard=one_of(ALL_SHARDS),
    table=one_of(study["tables"]),


def data_file(path):
    return in_data(path, study["data"])


DOWNLOADED = [data_file(path) for archive in study["downloads"].values() for path in archive["contents"]]
WEIGHTS = weights_of(study["models"].values(), ROOT)


def dataset_file(name):
    return f"{R}/datasets/{name}.json"


def labels_file(name):
    """The file of a label set, or of the dataset in its place: labels that people have corrected."""
    return f"{R}/labels/{name}/annotations.json" if name in study["labels"] else dataset_file(name)


def has_keypoints(wildcards):
    return study["models"][wildcards.model.split("+")[0]]["task"] == "keypoints"
