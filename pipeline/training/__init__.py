"""The processes that train: run, loading, execution, launcher, heartbeat, checkpoints."""
