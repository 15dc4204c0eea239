"""A training of several processes and the terminal that it was started from."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import SCRIPTS

PROGRAM = """
import signal, sys, time
from pathlib import Path

Path(sys.argv[1]).touch()
time.sleep(5)
Path(sys.argv[1]).with_suffix(".done").touch()
"""


@pytest.mark.parametrize("nohup", [True, False])
def test_a_closed_terminal_ends_a_training_but_under_nohup(tmp_path, nohup):
    (tmp_path / "program.py").write_text(PROGRAM)
    program = (tmp_path / "program.py", tmp_path / "run")
    command = [sys.executable, SCRIPTS / "launch.py", "--gpus", "1", *program]
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    answer = signal.SIG_IGN if nohup else signal.SIG_DFL
    before = signal.signal(signal.SIGHUP, answer)  # a new process begins with it
    try:
        launched = subprocess.Popen(command, stderr=subprocess.PIPE, env=env)
    finally:
        signal.signal(signal.SIGHUP, before)
    while not (tmp_path / "run").exists():
        assert launched.poll() is None
        time.sleep(0.1)
    launched.send_signal(signal.SIGHUP)
    _, said = launched.communicate(timeout=60)
    assert (launched.returncode == 0) == nohup, said
    assert (tmp_path / "run.done").exists() == nohup
