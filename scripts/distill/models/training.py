"""Training through mmengine's Runner, resumable at any iteration."""

from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from distill.files import write_json
from distill.models import amp, backbone, config_file, hooks, initial, work_folder
from distill.models import model as models
from distill.models.devices import pick_device, pick_workers
from distill.models.networks import Kind, kind_of
from distill.models.processes import runner_of, start_processes
from distill.models.provenance import provenance
from distill.models.tracking import Tracking, backends
from distill.models.training_job import Job, fingerprint, full_config, uses_bfloat16
from distill.models.validation import Validation, average_precision, points, write_history
from distill.models.weights import save_weights
from distill.program import UserError, cause
from distill.study.reruns import seen


def train(job: Job, workers: int | None = None) -> None:
    """Trains one model and writes model.pth, config.py, history.csv and run.json.

    Raises UserError for unusable inputs and where the loss is not finite.
    """
    device = pick_device(job.device)
    start_processes(device)
    world = get_world_size()
    if job.spec["batch"] % world:
        raise UserError(f"model {job.name}: batch {job.spec['batch']} is not a multiple of {world} GPUs")
    cfg, categories = full_config(job, pick_workers(device) if workers is None else workers)
    with work_folder.locked(job.work):
        _train(job, cfg, categories, device)
    barrier()


def _train(job: Job, cfg: Config, categories: list[dict], device: torch.device) -> None:
    kind = kind_of(cfg)
    trackers = backends(job.spec["tracking"], job.work / "tracking", job.name)
    mark = fingerprint(job, cfg)
    checkpoint = work_folder.prepare(job.work, mark)
    resumes = work_folder.count_resumes(job.work, checkpoint) if is_main_process() else 0
    cfg.load_from, cfg.resume = (str(checkpoint), True) if checkpoint else (None, False)
    cfg.model.data_preprocessor.non_blocking = True  # images come from pinned memory
    cfg.launcher = "pytorch" if get_world_size() > 1 else "none"
    pretrained = None if checkpoint else backbone.weights_file(cfg.model.backbone.get("init_cfg"))

    names: list[str] = []  # some networks grow parts in training that are others of theirs (DDQ's decoder)

    def prepare(network: Any) -> None:
        names.extend(network.state_dict())
        if pretrained:
            network.backbone.init_cfg = None  # they are read below
        if checkpoint is None:
            network.init_weights()
            if start := pretrained or job.init:
                known = initial.load(
                    network, start, job.published, models.load_config(job.config), categories
                )
                if job.spec["freeze_rpn"] and not any(name.startswith("rpn_head.") for name in known):
                    raise UserError(f"{start}: has no region proposals for `freeze_rpn` to keep")
        if job.spec["freeze_rpn"]:
            kind.freeze_rpn(network)
        if kind.half == "features" and uses_bfloat16(job):
            amp.features_in_bfloat16(network)

    meta = {
        "model": job.name,
        "categories": categories,
        "iterations": cfg.train_cfg.max_iters,
        "task": kind.task,
        "trainings": job.before + 1,
    }
    if settings := cfg.get("initial_settings"):
        meta["settings"] = settings.to_dict()
    validated = _validation(job, cfg, meta, names)
    # Not of the config, which the model keeps.
    also: list[Hook] = [Tracking(trackers, cfg.default_hooks.logger.interval, categories)] if trackers else []
    also += [validated] if validated else []
    runner = _run(job, kind, cfg, device, prepare, also)
    network = getattr(runner.model, "module", runner.model)
    if is_main_process():
        state = validated.best["state"] if validated and validated.best else network.state_dict()
        save_weights(job.output / "model.pth", {name: state[name] for name in names}, meta)
        clock = next(hook for hook in runner.hooks if isinstance(hook, hooks.Clock))
        _write_records(job, cfg, device, clock.seconds, resumes, mark, validated)
        work_folder.keep_newest(job.work)


def _run(
    job: Job,
    kind: Kind,
    cfg: Config,
    device: torch.device,
    prepare: Callable,
    also: list[Hook],
) -> Runner:
    """The Runner of a training that is done. Raises UserError where somebody's network cannot be trained."""
    runner: Any = None
    try:
        runner = runner_of(cfg, device, prepare)
        for hook in also:
            runner.register_hook(hook)
        runner.train()
    except UserError:
        raise
    except Exception as error:  # whatever a network raises that is given boxes
        if kind.ours or (runner and runner.iter) or isinstance(error, torch.OutOfMemoryError):
            raise
        why = f"{type(error).__name__}: {cause(error)}"
        raise UserError(f"{job.config}: the network cannot be trained on boxes here ({why})") from error
    return runner


def _validation(job: Job, cfg: Config, meta: dict[str, Any], names: list[str]) -> Validation | None:
    """The hook of a training that is validated. names: of the network's own weights, once they are known."""
    if not job.spec["validate"]:
        return None
    dataset, how = job.validation, job.how
    if dataset is None or how is None:
        raise UserError(f"model {job.name}: validate needs --validation and --how")
    at = points(meta["iterations"], job.spec["validate"], cfg.default_hooks.logger.interval)

    def measure(state: dict[str, torch.Tensor]) -> float | None:
        own = {name: state[name] for name in names}
        return average_precision(own, cfg, meta, dataset, how, job.device, job.work / "validation")

    return Validation(at, measure, job.spec["keep"] == "best")


def _write_records(
    job: Job,
    cfg: Config,
    device: torch.device,
    seconds: float,
    resumes: int,
    mark: str,
    validated: Validation | None,
) -> None:
    cfg.load_from, cfg.resume = None, False  # whether it was interrupted makes no difference
    config_file.write(job.output / "config.py", cfg)
    write_history(job.work / "history.csv", job.output / "history.csv", validated)
    kept = {"kept": validated.best["iteration"]} if validated and validated.best else {}
    write_json(
        job.output / "run.json",
        {
            **provenance(job.name, job.inputs, seconds, device),
            "spec": seen(job.spec),
            "seed": job.spec["seed"],
            "fingerprint": mark,
            "processes": get_world_size(),
            "threads": torch.get_num_threads(),
            "resumes": resumes,
            **kept,
            "seconds_per_iteration": round(seconds / cfg.train_cfg.max_iters, 4),
        },
    )
