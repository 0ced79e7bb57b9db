"""The gate: `alexnet check` holds a run's metrics against the goldens, `alexnet golden` keeps
them."""
