"""What is known of a run: environment, code, record, MLflow's store, differences."""
