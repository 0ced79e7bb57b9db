# The front door: `make repro` and `make test` do all the set-up they need. `make` alone lists what there is.

export PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
PORT ?= 5000

.PHONY: help setup repro check test docs ui

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## the virtual environment .venv with the pinned packages (PYTHON=python3.12 chooses another Python)
	@./setup.sh

repro: setup ## run the pipeline: whatever has changed, from the data to the report; then a table of the results
	@.venv/bin/alexnet mend
	.venv/bin/dvc repro
	@.venv/bin/alexnet summary

check: setup ## style, types, unsafe code, the direction of imports; the packages: pinned, fitting, without known holes
	.venv/bin/ruff check --quiet .
	.venv/bin/mypy alexnet pipeline benchmarks
	.venv/bin/python -m pytest -q -n 0 tests/test_rooms.py
	.venv/bin/python -m tests.packages

test: setup ## run the tests
	.venv/bin/python -m pytest -n 2 --dist loadgroup

docs: setup ## the reference of both packages, from their docstrings, as pages in build/docs
	.venv/bin/python -W ignore -m pdoc --docformat google --no-show-source --template-directory docs/reference \
	    --output-directory build/docs \
	    alexnet pipeline '!alexnet.normalization_triton' '!alexnet.arithmetic.gpu'
	@echo "build/docs/index.html"

ui: setup ## look at the runs in MLflow's pages (PORT=5000)
	@exec .venv/bin/alexnet ui --port $(PORT)
