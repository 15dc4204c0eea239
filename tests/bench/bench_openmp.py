"""How OpenMP's threads wait for each other: an iteration of a training, alone and beside two busy processes.

python tests/bench/bench_openmp.py [--threads 2] [--iterations 10]

Wall and CPU time in s of forward, backward and the optimizer's step. The settings take turns. `alone` means
something on a quiet machine only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

from measure import ROOT, report

# distill.program sets the policy where it is not set; what is empty is as good as not set for OpenMP.
SETTINGS = {
    "none": {"OMP_WAIT_POLICY": ""},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "GOMP_SPINCOUNT=0": {"OMP_WAIT_POLICY": "", "GOMP_SPINCOUNT": "0"},
}
WARM = 2  # iterations that are not counted


def iterate(config: str, iterations: int) -> None:
    """Prints wall and CPU time of an iteration."""
    import torch
    from bench_training import job_of
    from mmengine.runner import Runner

    from distill.files import write_json
    from distill.models import model as models
    from distill.models.training_job import full_config
    from helpers.options import generate

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        coco = generate(folder / "images", 16, seed=0, size=(320, 240))
        coco["info"]["image_root"] = str(folder / "images")
        write_json(folder / "dataset.json", coco)
        cfg, _ = full_config(job_of(folder, config, folder / "dataset.json"), workers=0)
        network = models.build(cfg)
        network.init_weights()
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        batches = [network.data_preprocessor(batch, True) for batch in islice(loader, 4)]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    for done, batch in enumerate(islice(cycle(batches), WARM + iterations)):
        if done == WARM:
            wall, cpu = time.perf_counter(), time.process_time()
        losses, _ = network.parse_losses(network.loss(batch["inputs"], batch["data_samples"]))
        losses.backward()
        optimizer.step()
        optimizer.zero_grad()
    times = [time.perf_counter() - wall, time.process_time() - cpu]
    print(json.dumps([taken / iterations for taken in times]))


def measured(arguments: list[str], threads: int, others: int, **environment: str) -> list[float]:
    """What `iterate` prints in a process with this environment, beside so many that only compute."""
    with ExitStack() as stack:
        for _ in range(others):
            busy = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(busy.kill)
        done = subprocess.run(
            [sys.executable, __file__, "--child", *arguments],
            env={**os.environ, **environment, "OMP_NUM_THREADS": str(threads)},
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="keypoint_rcnn_tiny")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        iterate(args.config, args.iterations)
        return
    arguments = ["--config", args.config, "--iterations", str(args.iterations)]
    cases = [(others, setting) for others in (0, 2) for setting in SETTINGS]
    taken = {case: [] for case in cases}
    for _ in range(args.rounds):
        for others, setting in cases:
            taken[others, setting].append(measured(arguments, args.threads, others, **SETTINGS[setting]))
    rows = []
    for (others, setting), times in taken.items():
        wall, cpu = map(sorted, zip(*times, strict=True))
        middle = len(times) // 2
        beside = "two others" if others else "alone"
        rows.append({"beside": beside, "setting": setting, "s": wall[middle], "CPU s": cpu[middle]})
    report(f"an iteration, {args.threads} threads", rows)


if __name__ == "__main__":
    main()
