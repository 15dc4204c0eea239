"""Snakemake whose Slurm plugin asks for its jobs every second.

The plugin waits 10 s longer after each time that no job has ended, up to three minutes.
"""

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)

if __name__ == "__main__":
    main()
