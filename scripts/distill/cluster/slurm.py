"""What a training does differently under Slurm: how its processes meet."""

from collections.abc import Mapping

from distill.program import UserError


def torchrun(gpus: int, environ: Mapping[str, str]) -> list[str]:
    """The beginning of a command that starts a program in one process for each of this node's GPUs.

    In a step of several nodes, with one task on each, the processes meet at the node that started the step,
    at a port that follows from the job's number; their ranks follow the order of the nodes.

    Raises UserError where the step has not one task on each node.
    """
    command = ["torchrun", "--nproc-per-node", str(gpus)]
    nodes = environ.get("SLURM_STEP_NUM_NODES", "1")
    if nodes == "1":
        return [*command, "--standalone"]
    if environ["SLURM_STEP_NUM_TASKS"] != nodes:
        raise UserError("a training on several nodes needs one task on each: srun --ntasks-per-node=1")
    port = 10000 + int(environ["SLURM_JOB_ID"]) % 20000  # below those that Linux gives to clients
    place = ["--master-addr", environ["SLURM_LAUNCH_NODE_IPADDR"], "--master-port", str(port)]
    return [*command, "--nnodes", nodes, "--node-rank", environ["SLURM_NODEID"], *place]
