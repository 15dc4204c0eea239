"""A real Slurm on one machine: two nodes of three and two fake GPUs, as root, without systemd.

    apt-get install slurmctld slurmd slurm-client munge
    python tests/slurm/cluster.py start
    python tests/slurm/cluster.py stop

The configuration has to be in /etc/slurm: jobs would not inherit an environment variable that names another.
A configuration that is not ours is left alone.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

ETC = Path("/etc/slurm")
STATE = Path("/var/tmp/distill-slurm")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
MARK = "# of data distillation's tests; removed by tests/slurm/cluster.py stop"
NODES = {"n1": 16818, "n2": 16819}
GPUS = {"n1": 3, "n2": 2}  # uneven, so that nodes must be asked for what they are to give
CLUSTER = "distill-test"

SLURM_CONF = f"""{MARK}
ClusterName={CLUSTER}
SlurmctldHost={{host}}(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
AuthType=auth/munge
AuthInfo=cred_expire=10
StateSaveLocation={STATE}/state
SlurmdSpoolDir={STATE}/spool/%n
SlurmctldPidFile={STATE}/slurmctld.pid
SlurmdPidFile={STATE}/%n.pid
SlurmctldLogFile={STATE}/slurmctld.log
SlurmdLogFile={STATE}/%n.log
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ProctrackType=proctrack/linuxproc
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
TaskPlugin=task/affinity
MpiDefault=none
ReturnToService=1
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,requeue_delay=0
SlurmctldParameters=idle_on_node_suspend
SlurmdParameters=config_overrides
SlurmdTimeout=20
KillWait=10
MinJobAge=300
InactiveLimit=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
{{nodes}}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=graceful Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=100
PartitionName=spot Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=CANCEL
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def missing() -> list[str]:
    """What this machine lacks for a cluster; empty if it can run one."""
    lacks = [program for program in PROGRAMS if shutil.which(program) is None]
    return lacks if os.getuid() == 0 else [*lacks, "root"]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 300):
    """Polls until the condition holds and returns its value. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(0.2)
    return value


def output(*command: str) -> str:
    """What a command prints; empty if it fails, as Slurm's do while the controller is away."""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def configure() -> None:
    """Writes /etc/slurm."""
    conf = ETC / "slurm.conf"
    if conf.exists() and MARK not in conf.read_text():
        raise SystemExit(f"error: {conf} is of another cluster; it is left alone")
    host = socket.gethostname()
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=32 RealMemory=64000"
        f" Gres=gpu:{GPUS[name]} State=UNKNOWN"
        for name, port in NODES.items()
    )
    ETC.mkdir(exist_ok=True)
    conf.write_text(SLURM_CONF.format(host=host, nodes=nodes))
    gpus = "".join(
        f"NodeName={name} Name=gpu File={file}\n"
        for name, count in GPUS.items()
        for file in ("/dev/null", "/dev/zero", "/dev/full")[:count]
    )
    (ETC / "gres.conf").write_text(f"{MARK}\nAutoDetect=off\n{gpus}")
    (ETC / "cgroup.conf").write_text(f"{MARK}\nCgroupPlugin=cgroup/v1\n")


def pid_of(name: str) -> int | None:
    """The process of one of our daemons, if it runs."""
    try:
        pid = int((STATE / f"{name}.pid").read_text())
        os.kill(pid, 0)
        return pid
    except (OSError, ValueError):
        return None


def start_controller(*options: str) -> None:
    subprocess.run(["slurmctld", *options], check=True)
    wait_for(lambda: output("sinfo"), "slurmctld")


def start_node(name: str) -> None:
    subprocess.run(["slurmd", "-N", name], check=True)


def stop_daemon(name: str) -> None:
    """Stops one of our daemons by its process id: `slurmctld`, `munged` or a node."""
    if pid := pid_of(name):
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: pid_of(name) is None, f"the end of {name}", 30)


def states() -> dict[str, str]:
    """Node → state, such as idle or mixed."""
    return dict(line.split() for line in output("sinfo", "-hN", "-p", "main", "-o", "%N %t").splitlines())


def lock() -> IO:
    """There is one /etc/slurm: held while a session uses the cluster. BlockingIOError if another one does."""
    file = open(f"{STATE}.lock", "w")  # noqa: SIM115, held until it is closed
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return file


def start() -> None:
    """Starts munge, the controller and both nodes, and waits until the nodes are idle."""
    if lacks := missing():
        raise SystemExit(f"error: this machine lacks {', '.join(lacks)}; make test-slurm, as root")
    stop()
    configure()
    for folder in ("state", *(f"spool/{name}" for name in NODES)):
        (STATE / folder).mkdir(parents=True)
    key = STATE / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    Path("/run/munge").mkdir(exist_ok=True)
    files = {"key-file": key, **{f"{kind}-file": STATE / f"munged.{kind}" for kind in ("pid", "log", "seed")}}
    options = [f"--{option}={file}" for option, file in files.items()]
    subprocess.run(["munged", "--force", *options], check=True)
    start_controller("-c")
    for name in NODES:
        start_node(name)
    wait_for(lambda: set(states().values()) == {"idle"}, "idle nodes")


def forget_jobs() -> None:
    """Restarts the controller without the jobs that are over, as MinJobAge would have it forget them."""
    stop_daemon("slurmctld")
    for path in (STATE / "state").glob("job_state*"):
        path.unlink()
    start_controller()


def cancel_all() -> None:
    """Cancels all jobs and waits until they are gone.

    Slurm follows processes by their parents here; where a parent ended first, it loses the child.
    """
    for name in NODES:
        output("scontrol", "update", f"NodeName={name}", "State=RESUME")
    output("scancel", "--user=root")
    wait_for(lambda: not output("squeue", "-h"), "the end of all jobs")
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("SLURM_CLUSTER_NAME") == CLUSTER:
                process.kill()


def stop() -> None:
    """Cancels what runs, stops the daemons and removes the configuration and all state."""
    if pid_of("slurmctld"):
        cancel_all()
    for name in ("slurmctld", *NODES, "munged"):
        stop_daemon(name)
    if (ETC / "slurm.conf").exists() and MARK in (ETC / "slurm.conf").read_text():
        for name in ("slurm.conf", "gres.conf", "cgroup.conf"):
            (ETC / name).unlink(missing_ok=True)
    shutil.rmtree(STATE, ignore_errors=True)


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]]()
