"""The `alexnet` command: one file for each family of commands."""
