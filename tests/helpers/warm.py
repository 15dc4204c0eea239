"""Runs the programs and Snakemake itself in forks of one process that has imported them: they are the real
ones, but a hundred short runs do not import torch, or Snakemake, a hundred times.

`python tests/helpers/warm.py SOCKET` is that process; each session of tests has one, from its first use on.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from socketserver import BaseRequestHandler, ForkingMixIn, UnixStreamServer

SCRIPTS = Path(__file__).parents[2] / "scripts"
CLIENT = """
import json, os, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
message = json.dumps([os.path.basename(__file__), sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [message], [1, 2])
sys.exit(server.recv(1)[0])
"""


class Job(BaseRequestHandler):
    """One run, in a fork: of a file of scripts/, or of a module."""

    def handle(self):
        message, (out, err), _, _ = socket.recv_fds(self.request, 1 << 20, 2)
        name, arguments, folder, environ = json.loads(message)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        # What was read from the environment before the fork:
        tempfile.tempdir = None
        sys.modules["distill.program"].DEVICE = environ.get("DISTILL_DEVICE", "auto")
        threading.Thread(target=self.die_with_client, daemon=True).start()
        code = 1
        try:
            sys.argv = [str(SCRIPTS / name), *arguments]
            if name.endswith(".py"):
                runpy.run_path(sys.argv[0], run_name="__main__")
            else:
                runpy.run_module(name, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            self.request.sendall(bytes([code]))

    def die_with_client(self):
        """kill -9 of the client is one of the job."""
        if not self.request.recv(1):
            os.kill(os.getpid(), signal.SIGKILL)


class Server(ForkingMixIn, UnixStreamServer):
    pass


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
    message = json.dumps([command[0], command[1:], str(cwd or Path.cwd()), dict(os.environ)]).encode()
    with (
        socket.socket(socket.AF_UNIX) as server,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        server.connect(start())
        socket.send_fds(server, [message], [out.fileno(), err.fileno()])
        code = server.recv(1)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(command, code[0] if code else -9, out.read(), err.read())


if __name__ == "__main__":
    sys.path[0] = str(SCRIPTS)
    importlib.import_module("snakemake.cli")
    for module in pkgutil.walk_packages([f"{SCRIPTS}/distill"], "distill."):
        importlib.import_module(module.name)
    gc.freeze()  # else each fork's collector copies the memory that it shares
    with Server("", Job, bind_and_activate=False) as server:
        server.socket = socket.socket(fileno=int(sys.argv[1]))
        server.serve_forever()
