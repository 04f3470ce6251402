# Thin: what each target does is in scripts/. Choose the interpreter with `make setup PYTHON=python3.12`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup run frameworks tensorflow test bench bench-full lock
export PYTHON

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

setup: ## install system packages (apt), .venv, the default models and the sample clip
	@scripts/setup.sh run

run: setup ## set up, then run the main job on the sample clip; results in out/
	@scripts/run_sample.sh

frameworks: ## set up, with PyTorch, Keras, scikit-learn and the like: what `python -m converters export` and `train` need
	@scripts/setup.sh frameworks

tensorflow: ## install TensorFlow apart from .venv (1.6 GB): what SavedModels are converted with
	@scripts/setup.sh frameworks
	@scripts/tensorflow.sh

test: ## set up with what the tests need, then lint, type check and test
	@scripts/setup.sh test
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/python -m pytest

bench: ## set up with the frameworks, measure (under 15 minutes on two cores), and write out/bench/report.html; exit code 1: not every budget was kept
	@scripts/setup.sh frameworks
	@scripts/bench.sh quick

bench-full: ## the same with every sample and the gate's proof: hours
	@scripts/setup.sh frameworks
	@scripts/bench.sh full

lock: ## pin every Python dependency again, with hashes (needs uv)
	@scripts/lock.sh --upgrade
