"""What is wanted: parameters, presets, paths, the tables of stages and of data sets, describe."""
