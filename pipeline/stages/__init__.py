"""The stages, one module each; `pipeline.stages.runner` says what they have in common."""
