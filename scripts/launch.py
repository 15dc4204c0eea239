"""Starts a training on the GPUs of this node, which may be one of several in a Slurm step."""

import argparse
import os
import signal

from distill.cluster.gpus import claim
from distill.cluster.slurm import torchrun
from distill.program import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpus", type=int, required=True, help="processes on this node")
    parser.add_argument("program", help="program to start")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    args = parser.parse_args()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # for the training alone; torchrun would die of it
    # After SIGTERM, torchrun kills what has not ended in so many seconds: a checkpoint is to be written.
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "120")
    claim(args.gpus)
    # Under nohup, torchrun would answer to the closed terminal that the training is to outlive.
    stop = ["SIGTERM", "SIGINT", "SIGQUIT"]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        stop.append("SIGHUP")
    handled = ["--signals-to-handle", ",".join(stop)]
    command = [*torchrun(args.gpus, os.environ), *handled, args.program, *args.arguments]
    os.execvp(command[0], command)


if __name__ == "__main__":
    run(main)
