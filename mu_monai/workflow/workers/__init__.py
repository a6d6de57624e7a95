"""Jobs on workers: many runs at once in processes of this machine, on Ray or on Slurm."""
