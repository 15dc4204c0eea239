"""Runs programs in forks of one process that has imported what they import.

A short prediction waits longer for torch and mmdet than for its images. So the first one that a run of the
workflow starts on a machine leaves behind a process that has them imported; it and the following ones, each a
job of its own as ever, hand themselves over to a fork of it, with arguments, folder, environment and outputs.
That process ends when it has had nothing to do for a while, or when the workflow ends.

Python's own server of forks, that of `multiprocessing`, serves the children of one process only.
"""

import fcntl
import gc
import hashlib
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ForkingMixIn, UnixStreamServer
from typing import Any

VARIABLE = "DISTILL_FORKS"  # the variable that names the folder of the sockets: the workflow sets it
IDLE = 60.0  # seconds
GRACE = 5.0  # seconds that a program has to end by itself
STARTED = b"+"


def hand_over(imports: str) -> int | None:
    """Runs this program in a fork of a process that has imported the module `imports`, and returns its exit
    code; None where the workflow keeps no such process, or it does not answer: the program then runs itself.
    """
    folder = Path(os.environ.get(VARIABLE, ""))
    if VARIABLE not in os.environ or not folder.is_dir():
        return None
    environ = {key: value for key, value in os.environ.items() if key != VARIABLE}
    try:
        server = _connect(folder, imports)
    except OSError:  # a path that is too long for a socket, or a file system without
        return None
    with server:
        return ask(server, sys.argv, Path.cwd(), environ, (1, 2))


def ask(
    server: socket.socket, argv: list[str], folder: Path, environ: dict[str, str], outputs: tuple[int, int]
) -> int | None:
    """Has a program run, and waits for it.

    server: a connection to a `Server`.
    argv: the program and its arguments.
    folder: where it runs.
    outputs: the descriptors of its stdout and stderr.

    Returns its exit code, that of `kill -9` where it was lost; None where it did not start.
    """
    message = json.dumps([argv, str(folder), environ]).encode() + b"\n"
    with suppress(ConnectionError):
        socket.send_fds(server, [message[:1]], outputs)
        server.sendall(message[1:])
        if server.recv(1) == STARTED:
            code = server.recv(1)
            return code[0] if code else 128 + signal.SIGKILL
    return None


@contextmanager
def _locked(folder: Path):
    """Nobody else connects, starts a process or ends one in the meantime."""
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _connect(folder: Path, imports: str) -> socket.socket:
    """A connection to the process that has `imports`, which is started where there is none. What is fixed
    when libraries are loaded, as the number of threads, tells one such process from another."""
    fixed = [sys.executable, imports, os.environ.get("PYTHONPATH"), os.environ.get("OMP_NUM_THREADS")]
    path = str(folder / hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:16])
    client = socket.socket(socket.AF_UNIX)
    with _locked(folder):
        with suppress(FileNotFoundError, ConnectionRefusedError):
            client.connect(path)
            return client
        Path(path).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1000)  # who connects from now on waits for the imports
            _start(listener, imports)
        client.connect(path)
    return client


def _start(listener: socket.socket, imports: str) -> None:
    """Starts the process, of which its requests are all that there is to see."""
    # mmengine looks for GPUs when it is imported. If it asked CUDA, CUDA would fail in every fork.
    environ = {**os.environ, "PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
    subprocess.Popen(
        [sys.executable, __file__, str(listener.fileno()), imports],
        env=environ,
        pass_fds=[listener.fileno()],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Run(BaseRequestHandler):
    """One run of a program, in a fork."""

    def handle(self) -> None:
        first, outputs, _, _ = socket.recv_fds(self.request, 1, 2)
        with self.request.makefile("rb") as rest:
            sys.argv, folder, environ = json.loads(first + rest.readline())
        torch: Any = sys.modules.get("torch")
        on_gpu = environ.get("DISTILL_DEVICE") != "cpu" and os.path.exists("/dev/nvidiactl")
        if on_gpu and torch and torch.cuda._is_in_bad_fork():  # as where NVML knows no MIG slice
            return  # so that the program runs by itself
        for descriptor, output in zip((1, 2), outputs, strict=True):
            os.dup2(output, descriptor)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environ)
        self.request.sendall(STARTED)
        threading.Thread(target=self.die_with_client, daemon=True).start()
        code = 1
        try:
            self.run()
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

    def run(self) -> None:
        runpy.run_path(sys.argv[0], run_name="__main__")

    def die_with_client(self) -> None:
        """Whoever ends the job, however, ends what it does here; what is half-written it can remove first."""
        if not self.request.recv(1):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(GRACE)
            os.kill(os.getpid(), signal.SIGKILL)


class Server(ForkingMixIn, UnixStreamServer):
    """Serves a socket that listens, with a fork for each request."""

    timeout = 1
    max_children = 1000

    def __init__(self, listener: int, handler: type[BaseRequestHandler] = Run) -> None:
        super().__init__("", handler, bind_and_activate=False)
        self.socket = socket.socket(fileno=listener)
        self.waiting = True

    def handle_timeout(self) -> None:
        super().handle_timeout()
        self.waiting = False

    def serve_while_busy(self) -> None:
        """Until there has been no request for `IDLE` seconds, or the folder of the socket is gone."""
        path = Path(self.socket.getsockname())
        last = time.monotonic()
        while path.exists() and time.monotonic() - last < IDLE:
            self.handle_request()
            self.collect_children()
            if self.active_children:
                last = time.monotonic()
        with suppress(FileNotFoundError), _locked(path.parent):
            path.unlink()
        self.timeout, self.waiting = 0, True
        while self.waiting:  # who connected just before
            self.handle_request()


def main() -> None:
    listener, imports = int(sys.argv[1]), sys.argv[2]
    sys.path[0] = str(Path(__file__).parents[1])
    importlib.import_module(imports)
    gc.freeze()  # else the collector of each fork would copy the memory that they share
    with Server(listener) as server:
        server.serve_while_busy()


if __name__ == "__main__":
    main()
