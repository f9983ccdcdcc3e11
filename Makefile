# make demo: from nothing to the table of the README. make test: lint, types, import rules, tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help install demo test test-quick test-coverage test-slurm lint docs docs-serve fuzz torture bench clean

help:
	@echo "make install   set up $(VENV) with the exact versions of constraints.txt"
	@echo "make demo      train, attack and compare three clusterers and two baselines on the embedded digits: one table"
	@echo "make test      lint, types, import rules, all tests"
	@echo "make test-quick   of the tests those that train nothing, in about a minute"
	@echo "make test-coverage   all tests, and which lines and branches they reach"
	@echo "make test-slurm   a SLURM on this machine pre-empts and requeues a job, which ends the same; root on Debian"
	@echo "make lint      the first three of these"
	@echo "make docs      the documentation site, into site; make docs-serve shows it and follows changes"
	@echo "make fuzz      2,400 damaged files for the readers"
	@echo "make torture   everything that can go wrong, many times over, with a table; half an hour"
	@echo "make bench     speed, as ratios against the plain way"
	@echo "make clean     remove caches and $(VENV); runs are left alone"

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ar_dmvc needs Python 3.11 or newer: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/ardmvc benchmark --config configs/benchmark/demo.yaml --workers 2

test: lint
	$(BIN)/python -m pytest --durations=15

test-quick: install
	$(BIN)/python -m pytest -m "not slow"

test-coverage: install
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

# Nodes, and tasks on each.
NODES ?= 1
TASKS ?= 2

test-slurm: install
	test "$$(id -u)" = 0 || { echo "make test-slurm starts daemons: run it as root" >&2; exit 1; }
	{ command -v munged && command -v slurmctld && command -v slurmd; } >/dev/null || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge; }
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.slurm --nodes $(NODES) --tasks $(TASKS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs docs-serve: export NO_MKDOCS_2_WARNING = 1
docs: install
	$(BIN)/mkdocs build --strict

docs-serve: install
	$(BIN)/mkdocs serve

fuzz: install
	AR_DMVC_FUZZ=300 $(BIN)/python -m pytest tests/data/test_fuzz.py --timeout 3600

torture: install
	$(BIN)/python -m tests.torture
	$(MAKE) fuzz

bench: install
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build dist site .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
