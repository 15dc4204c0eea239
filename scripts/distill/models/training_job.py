"""What a training is: a Job, and mmengine's config of it with Detectron's schedule (its SOLVER)."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size
from numpy.random import SeedSequence

from distill import ROOT
from distill.datasets.coco import Coco
from distill.datasets.dataset_file import read_dataset
from distill.models import (  # noqa: F401, fill registries
    amp,
    averaging,
    backbone,
    data,
    hooks,
    initial,
    loaders,
    sampler,
)
from distill.models import model as models
from distill.models.devices import pick_device
from distill.models.networks import Kind, kind_of, own_hooks
from distill.models.provenance import content_digest, digests
from distill.models.validation import How
from distill.program import UserError
from distill.study.lengths import automatic_length
from distill.study.reruns import of_validation, seen


@dataclass(frozen=True)
class Job:
    """One training.

    name: of the model.
    config: the model config.
    spec: the model's options, as `resolve.training` gives them.
    labelled, labels: COCO JSON of labelled images, and of generated labels (a student's), or None.
    init: model.pth, or another checkpoint, to start from; None: as `spec` says.
    work: the folder of checkpoints.
    output: the model's folder.
    device: cpu, cuda or auto.
    validation: COCO JSON that the training is validated on, if it is. how: it is predicted.
    version: of what a training does; checkpoints of another one are not resumed from.
    """

    name: str
    config: Path
    spec: dict
    labelled: Path
    labels: Path | None
    init: Path | None
    work: Path
    output: Path
    device: str
    validation: Path | None = None
    how: How | None = None
    version: str = ""

    @property
    def published(self) -> dict[str, Any] | None:
        """Format, checkpoint, … of what it starts from, if that is somebody else's."""
        return self.spec["init"] if isinstance(self.spec["init"], dict) else None

    @cached_property
    def before(self) -> int:
        """How many trainings the weights have behind them that it starts from."""
        return initial.trainings(self.init) if self.init and not self.published else 0

    @property
    def draws(self) -> int:
        """The seed of all that it draws: a training that goes on from another one's weights sees other
        minibatches than that one did."""
        seed = self.spec["seed"]
        return int(SeedSequence((seed, self.before)).generate_state(1)[0]) if self.before else seed

    @cached_property
    def inputs(self) -> dict[str, str]:
        """Digests of the files that shape the training, beside the config."""
        files = {"labelled": self.labelled, "labels": self.labels, "init": self.init}
        return digests({**files, "validation": self.validation})


def iterations_of(spec: dict, samples: int) -> int:
    """Iterations of a spec that learns from so many samples, labelled or not."""
    if spec["iterations"] != "auto":
        return int(spec["iterations"])
    return automatic_length(samples, spec["batch"], student=bool(spec.get("ratio")))


def dataloader(job: Job, kind: Kind, cfg: Config, coco: Coco, iterations: int, workers: int) -> dict:
    """Config of the training samples: labelled ones and, for a student, generated ones in the given ratio.

    kind: of the network. cfg: its config.
    coco: the labelled dataset.
    iterations: of the training. workers: processes that read images.
    """
    spec = job.spec
    same = not isinstance(spec["augment"], dict)
    strengths = dict.fromkeys(("labelled", "generated"), spec["augment"]) if same else spec["augment"]

    def part(which: str, **options) -> dict[str, Any]:
        return {**kind.samples(cfg, spec, strengths[which], coco, job.name), **options}

    parts = [part("labelled", ann_file=str(job.labelled))]
    if job.labels:
        background = spec["background"] == "sample"
        options: dict[str, Any] = dict(generated=True, background=background)
        if spec["weight"] != "none" or not spec["regress"]:
            options |= dict(weight=spec["weight"], regress=spec["regress"])
        parts.append(part("generated", ann_file=str(job.labels), **options))
    mix = {key: spec.get(key) for key in ("batch", "ratio", "balance")}
    mix |= {"iterations": iterations, "seed": job.draws}
    return dict(
        batch_size=spec["batch"] // get_world_size(),
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=dict(type="outlive_signals"),
        pin_memory=pick_device(job.device).type == "cuda",
        dataset=dict(type="MixedDataset", datasets=parts),
        sampler=dict(type="RatioSampler", **mix),
        collate_fn=dict(type="pseudo_collate"),
    )


def uses_bfloat16(job: Job) -> bool:
    """Whether the training is asked to compute in it, and the hardware does."""
    return job.spec["amp"] and amp.supported(pick_device(job.device))


def schedule(job: Job, kind: Kind, iterations: int, optimization: dict[str, Any]) -> dict:
    """Optimizer and learning rate: linear warm-up, if it is longer than an iteration; the rate ÷ 10 at each
    milestone.

    optimization: of the kind of network.
    """
    spec = job.spec
    wrapper = dict(type="OptimWrapper", **optimization)
    if kind.half == "network" and uses_bfloat16(job):
        wrapper["type"] = "BFloat16OptimWrapper"
    milestones = [round(share * iterations) for share in spec["milestones"]]
    warmup = dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=spec["warmup"])
    decay = dict(
        type="MultiStepLR", by_epoch=False, begin=0, end=iterations, milestones=milestones, gamma=0.1
    )
    return dict(
        optim_wrapper=wrapper,
        # Of mmengine's warm-up the first iteration has the start factor, the last one the full rate.
        param_scheduler=[warmup, decay] if spec["warmup"] > 1 else [decay],
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=iterations + 1),
    )


STAND_IN = [{"id": 1, "name": "object", "keypoints": ["point"]}]  # for categories that are not known yet


def check_config(name: str, spec: dict[str, Any]) -> None:
    """Raises UserError where a training would, whatever it learns from: for a config that cannot be read or
    lacks an optimizer, for options that its network has not, for weights that are not there.

    name, spec: of the model; `config` is among the options.
    """
    cfg = models.load_config(spec["config"])
    kind = kind_of(cfg)
    kind.check(spec, name)
    kind.settle(cfg, STAND_IN, spec["config"])
    kind.optimization(cfg, spec, spec["config"])
    kind.hooks(cfg, 1, spec["config"])  # last, since it takes the rest of the config away
    if spec["init"] == "pretrained":
        backbone.weights_file(cfg.model.backbone.get("init_cfg"))


def full_config(job: Job, workers: int) -> tuple[Config, list[dict]]:
    """The complete mmengine config of a training, and the dataset's categories."""
    coco = read_dataset(job.labelled)
    spec = job.spec
    cfg = models.load_config(job.config)
    if job.init and (settings := initial.settings(job.init, job.published, cfg)):
        cfg.merge_from_dict({"model": settings, "initial_settings": settings})
    kind = kind_of(cfg)
    kind.check(spec, job.name)
    models.fit_to_dataset(cfg, coco["categories"], str(job.labelled))
    if spec["init"] != "pretrained":  # otherwise the config's ImageNet weights
        models.drop_pretrained(cfg)
    if spec["init"] == "none":
        backbone.learn_all(cfg.model)
    samples = kind.learned(coco, spec)
    if job.labels:
        labels = read_dataset(job.labels)
        samples += kind.learned(labels, spec)
        if _meaning(labels) != _meaning(coco):
            raise UserError(f"{job.labels}: its categories or keypoints are not those of {job.labelled}")
    iterations = iterations_of(spec, samples)
    # History and checkpoints are few enough to read and often enough to lose little.
    interval = max(1, min(50, iterations // 20))
    every = spec["checkpoint_every"]
    every = max(interval, min(2500, iterations // 5)) if every == "auto" else int(every)
    optimization = kind.optimization(cfg, spec, str(job.config))
    shaping = kind.hooks(cfg, iterations, str(job.config))
    if spec["ema"] is not None:
        shaping.append(dict(type="AverageWeights", ema=spec["ema"]))
    cfg.merge_from_dict(
        dict(
            default_scope="mmdet",
            work_dir=str(job.work),
            experiment_name="training",
            train_dataloader=dataloader(job, kind, cfg, coco, iterations, workers),
            **schedule(job, kind, iterations, optimization),
            default_hooks=dict(
                runtime_info=dict(type="RuntimeInfo"),
                # After History, which has the means of the losses.
                logger=dict(
                    type="LoggerHook", interval=interval, log_metric_by_epoch=False, priority="VERY_LOW"
                ),
                checkpoint=dict(type="CheckpointHook", interval=every, by_epoch=False, max_keep_ckpts=2),
                sampler_seed=None,
            ),
            custom_hooks=[
                dict(type="SeedEachStep", seed=job.draws),
                dict(type="Finite", interval=interval),
                dict(type="PlainCheckpoint"),
                dict(type="Clock"),
                dict(type="History", path=str(job.work / "history.csv"), interval=interval),
                dict(type="StopOnSignal"),
                *shaping,
            ],
            # Each tensor of a sample is an open file until its minibatch is there.
            env_cfg=dict(cudnn_benchmark=False, resource_limit=1 << 20),
            randomness=dict(seed=spec["seed"]),
            log_processor=dict(
                by_epoch=False,
                window_size=1,
                custom_cfg=[
                    dict(data_src=key, method_name="mean", window_size=interval)
                    for key in ("time", "data_time")
                ],
            ),
            visualizer=dict(type="Visualizer", vis_backends=[]),
            log_level="INFO",
        )
    )
    # mmengine writes the text of its config into every checkpoint; laying it out takes longer than saving.
    return Config(cfg.to_dict(), filename=cfg.filename, format_python_code=False), coco["categories"]


def _meaning(coco: dict) -> list[tuple]:
    """What the outputs of a network that is trained on a dataset stand for."""
    return [(category["name"], category.get("keypoints") or []) for category in coco["categories"]]


def fingerprint(job: Job, cfg: Config) -> str:
    """Digest of everything that shapes the training, which paths and workers do not. Raises UserError where
    weights that it starts from are not there."""
    datasets = {"labelled": job.labelled, "labels": job.labels, "validation": job.validation}
    weights = {"init": job.init, "pretrained": backbone.weights_file(cfg.model.backbone.get("init_cfg"))}
    start = job.published or {"init": job.spec["init"] if job.init is None else "a file"}
    shape = {
        "version": job.version,
        "model": json.loads(json.dumps(cfg.model.to_dict(), default=str)),
        "spec": seen(job.spec, "config", "init"),
        "start": {key: value for key, value in start.items() if key != "checkpoint"},
        "datasets": {name: content_digest(path) for name, path in datasets.items() if path},
        "weights": digests(weights),
        "draws": job.draws,
        # Not by its type: a training that is killed may go on where bfloat16 is slow.
        "optimizer": {key: value for key, value in cfg.optim_wrapper.to_dict().items() if key != "type"},
    }
    if job.spec["keep"] == "best" and job.how:
        shape["how"] = of_validation(job.how, kind_of(cfg).task, ROOT)
    if own := own_hooks.shaping(cfg):
        shape["hooks"] = own
    return hashlib.blake2b(json.dumps(shape, sort_keys=True).encode(), digest_size=16).hexdigest()
