"""Where jobs run: Slurm, the GPUs of one machine; what a study costs, and how far it is."""
