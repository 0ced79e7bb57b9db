"""Side by side with what people would use instead. Each module is a command: `python -m
benchmarks.NAME [--json]`."""
