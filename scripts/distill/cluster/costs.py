"""How long and how large a study is: its jobs as Snakemake plans them, with what finished ones took.

A job's cost is a straight line through the finished jobs of its rule and model config: seconds (and bytes)
over its work, which is images × megapixels of the view for predictions, images × views for merging, and
images drawn for trainings. Where nothing has been measured it is None.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np

from distill.cluster.jobs import Job, finished
from distill.predictions.views import View
from distill.study.lengths import automatic_length
from distill.study.lineage import training_datasets
from distill.study.needs import shards_of
from distill.study.types import Study

TRAINING_RULES = ("train_teacher", "retrain_student")
SAME_COST = {**dict.fromkeys(TRAINING_RULES, "train"), "infer_view_temporary": "infer_view_heatmaps"}
LIGHT = 30.0  # seconds that jobs without a benchmark are taken for; they work on text alone


def work_of(job: Job, study: Study, images: Mapping[str, int]) -> float | None:
    """The work of a job, None where it is not known yet; 1 for jobs that are not measured. images: dataset →
    its number of images, as far as they are known."""
    names = job.wildcards
    if job.rule in TRAINING_RULES:
        iterations = _iterations(names["model"], study, images)
        return iterations and iterations * study["models"][names["model"]]["batch"]
    if not job.benchmark:
        return 1.0
    dataset = study["labels"][names["labels"]]["dataset"] if "labels" in names else names["dataset"]
    if dataset not in images:
        return None
    share = images[dataset] / shards_of(study, dataset)
    if "views" in names:
        return share * len(study["views"][study["merged"][names["views"]]["views"]])
    view = View.parse(names.get("view", study["views"]["plain"][0]))
    return share * view.scale**2 / 1e6


def _iterations(name: str, study: Study, images: Mapping[str, int]) -> int | None:
    """Of a model's training; None where they follow from images that were not counted yet, or from instances,
    as those of pose estimators. Of images, as if each held an object: at most so many."""
    model, datasets = study["models"][name], training_datasets(study, [name])
    if not isinstance(model["iterations"], str):
        return model["iterations"]
    if "boxes" in model or not images.keys() >= set(datasets):
        return None
    count = sum(images[dataset] for dataset in datasets)
    return automatic_length(count, model["batch"], student=bool(model["labels"]))


def kind_of(job: Job, study: Study) -> tuple[str, str]:
    """Jobs of one kind lie on one line: those of the same rule, or of rules that do the same work, and of the
    same model config."""
    name = job.wildcards.get("model")
    config = study["models"][name]["config"] if name in study["models"] else ""
    return SAME_COST.get(job.rule, job.rule), config


def line(points: Iterable[tuple[float, float]]) -> Callable[[float], float] | None:
    """The best line through points (work, cost); through zero where it would fall or start below zero. None
    without points."""
    x, y = np.array(list(points), float).reshape(-1, 2).T
    if not len(x):
        return None
    slope, start = np.polyfit(x, y, 1) if np.ptp(x) > 0 else (0.0, 0.0)
    if slope <= 0 or start < 0:
        slope, start = y.sum() / x.sum(), 0.0
    return lambda work: float(start + slope * work)


def measured(job: Job, work: float | None) -> tuple[float, float] | None:
    """(work, seconds) of a finished job, None where that is not known; of a training, (1, the seconds that
    one process takes for an image).

    Of a training its run.json is read, not its benchmark, which counts the pauses of interrupted ones.
    """
    try:
        if job.rule in TRAINING_RULES:
            record = json.loads((Path(job.outputs[0]).parent / "run.json").read_text())
            return 1.0, record["seconds_per_iteration"] * record["processes"] / record["spec"]["batch"]
        seconds = float(Path(job.benchmark).read_text().splitlines()[1].split("\t")[0])
        return None if work is None else (work, seconds)
    except (OSError, ValueError, KeyError, IndexError):
        return None


def size_of(job: Job) -> int:
    """Of its files that are there, in bytes."""
    return sum(path.stat().st_size for path in map(Path, job.outputs) if path.exists())


def estimate(
    jobs: list[Job], study: Study, images: Mapping[str, int], known: list[tuple]
) -> tuple[dict[Job, float | None], dict[Job, float | None]]:
    """What every job takes, by those that are finished.

    jobs: of the study.
    study: resolved.
    images: dataset → its number of images, as far as they are known.
    known: (job, its study, the images of that) of all jobs that are to be learnt from if they are finished.

    Returns seconds and bytes by job, None where nothing like it has been measured.
    """
    seconds, sizes = defaultdict(list), defaultdict(list)
    done = finished(job for job, *_ in known)
    for job, its_study, its_images in known:
        if job in done:
            work, kind = work_of(job, its_study, its_images), kind_of(job, its_study)
            if point := measured(job, work):
                seconds[kind].append(point)
            if work and job.is_done:  # what is temporary is gone
                sizes[kind].append((1.0 if job.rule in TRAINING_RULES else work, size_of(job)))
    lines = {kind: line(points) for kind, points in seconds.items()}
    volumes = {kind: line(points) for kind, points in sizes.items()}
    times, bytes_ = {}, {}
    for job in jobs:
        work, kind = work_of(job, study, images), kind_of(job, study)
        training = job.rule in TRAINING_RULES
        cost, volume = lines.get(kind), volumes.get(kind)
        if training or job.benchmark:
            times[job] = cost(work) / (max(1, job.gpus) if training else 1) if cost and work else None
        else:
            times[job] = LIGHT
        bytes_[job] = volume(1.0 if training else work) if volume and work else None
    return times, bytes_


def critical_path(jobs: Iterable[Job], seconds: Mapping[Job, float | None]) -> list[Job]:
    """The chain of jobs, each waiting for the one before, that takes longest; unknown times count as 0."""
    maker = {output: job for job in jobs for output in job.outputs}
    before = {job: {maker[path] for path in job.inputs if path in maker} for job in maker.values()}
    end: dict[Job, float] = {}
    latest: dict[Job, Job | None] = {}  # of those that a job waits for
    for job in TopologicalSorter(before).static_order():
        latest[job] = previous = max(before[job], key=end.__getitem__, default=None)
        end[job] = (seconds[job] or 1e-9) + (end[previous] if previous else 0)
    path, step = [], max(end, key=end.__getitem__, default=None)
    while step:
        path.append(step)
        step = latest[step]
    return path[::-1]
