"""The reproducibility matrix: a small workload along every axis of change, each stage compared bit
by bit with a reference run.

`axes` says what is varied, `running.run` runs it and returns a `Cell` for each axis and stage,
`variant` runs one stage as an axis has it, `comparison` finds the first difference. The command
`alexnet matrix` draws and records the cells.
"""
