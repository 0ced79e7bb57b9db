"""The stages, one module each; `pipeline.stage` says what they have in common."""
