"""Runs the programs and Snakemake itself in forks of one process that has imported them: they are the real
ones, but a hundred short runs do not import torch, or Snakemake, a hundred times.

`python tests/helpers/warm.py SOCKET` is that process; each session of tests has one, from its first use on.
"""

import atexit
import gc
import importlib
import os
import pkgutil
import runpy
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
if __name__ == "__main__":
    sys.path[0] = str(SCRIPTS)

from distill import forks  # noqa: E402

CLIENT = """
import os, socket, sys
from distill.forks import ask

server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
argv = [os.path.basename(__file__), *sys.argv[1:]]
code = ask(server, argv, os.getcwd(), dict(os.environ), (1, 2))
sys.exit(1 if code is None else code)
"""


class Run(forks.Run):
    """One run, of a file of scripts/, or of a module."""

    def run(self):
        # What was read from the environment before the fork:
        tempfile.tempdir = None
        sys.modules["distill.program"].DEVICE = os.environ.get("DISTILL_DEVICE", "auto")
        os.environ.pop(forks.VARIABLE, None)  # this is a fork already
        if sys.argv[0].endswith(".py"):
            sys.argv[0] = str(SCRIPTS / sys.argv[0])
            super().run()
        else:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


@cache
def start() -> str:
    """The path of the socket of the warm process, which ends with this one."""
    folder = tempfile.TemporaryDirectory()
    path = f"{folder.name}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(100)  # clients wait while the process imports
        command = [sys.executable, __file__, str(listener.fileno())]
        environ = {**os.environ, "OMP_NUM_THREADS": "1"}
        environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # a look for GPUs through CUDA would spoil the forks
        process = subprocess.Popen(command, env=environ, pass_fds=[listener.fileno()])
    for end in (folder.cleanup, process.wait, process.terminate):  # the last one first
        atexit.register(end)
    return path


def install(folder: Path) -> None:
    """Makes `folder`, which stands in for scripts/: clients of all programs."""
    folder.mkdir()
    (folder / "distill").symlink_to(SCRIPTS / "distill")
    for program in SCRIPTS.glob("*.py"):
        (folder / program.name).write_text(CLIENT.format(path=start()))


def run(name: str, *arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Runs a program of scripts/ (merge_views.py) or a module (snakemake), and gives its outputs as text."""
    command = [name, *map(str, arguments)]
    with (
        socket.socket(socket.AF_UNIX) as server,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        server.connect(start())
        outputs = (out.fileno(), err.fileno())
        code = forks.ask(server, command, cwd or Path.cwd(), dict(os.environ), outputs)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, -1 if code is None else code, out.read(), err.read())


if __name__ == "__main__":
    importlib.import_module("snakemake.cli")
    for module in pkgutil.walk_packages([f"{SCRIPTS}/distill"], "distill."):
        importlib.import_module(module.name)
    gc.freeze()  # else each fork's collector copies the memory that it shares
    with forks.Server(int(sys.argv[1]), Run) as server:
        server.serve_forever()
