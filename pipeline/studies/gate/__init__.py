"""The gate: `alexnet check` holds a run's metrics against the goldens, which `alexnet golden`
keeps."""
