"""Runs of runs: sets of runs, experiments, ensembles, reruns, the matrix, the gate, the claims."""
