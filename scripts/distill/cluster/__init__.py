"""Where jobs run: Slurm, the GPUs of one machine, what a study costs and where it stands."""
