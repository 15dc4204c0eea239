"""Runs the workflow's programs in forks of one process that has imported the frameworks: Snakemake and the
programs are real, but a hundred small jobs do not start Python and torch a hundred times.

`python tests/helpers/warm.py SOCKET` is that process; `install` puts a client of it in the place of each
program.
"""

import json
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, ForkingMixIn, UnixStreamServer

SCRIPTS = Path(__file__).parents[2] / "scripts"
CLIENT = """
import json, os, socket, sys

server = socket.socket(socket.AF_UNIX)
server.connect({path!r})
message = json.dumps([os.path.basename(__file__), sys.argv[1:], os.getcwd()]).encode()
socket.send_fds(server, [message], [1, 2])
sys.exit(server.recv(1)[0])
"""


class Job(BaseRequestHandler):
    def handle(self):
        message, (out, err), _, _ = socket.recv_fds(self.request, 1 << 20, 2)
        program, arguments, folder = json.loads(message)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(folder)
        sys.argv = [str(SCRIPTS / program), *arguments]
        code = 1
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            self.request.sendall(bytes([code]))


class Server(ForkingMixIn, UnixStreamServer):
    pass


@contextmanager
def install(folder: Path) -> Iterator[None]:
    """Fills the empty `folder` with clients of all programs, and serves them."""
    path = folder / ".socket"
    for program in SCRIPTS.glob("*.py"):
        (folder / program.name).write_text(CLIENT.format(path=str(path)))
    process = subprocess.Popen(
        [sys.executable, __file__, str(path)], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        while not path.exists():
            assert process.poll() is None, "the warm process did not start"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    sys.path.insert(0, str(SCRIPTS))

    with Server(sys.argv[1], Job) as server:
        server.serve_forever()
