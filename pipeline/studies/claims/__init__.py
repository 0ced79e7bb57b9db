"""The paper's claims as experiments: experiments/claims.yaml, `alexnet claims [run]`. See
docs/claims.md."""
