# `make` lists what can be made. Everything runs in .venv, which is made on first use and renewed when the pins change.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PINS := pyproject.toml constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --constraint constraints.txt
CODE := $(wildcard src tests examples benchmarks monitoring)

ifndef PYTHON
PYTHON := $(shell for python in python3.13 python3.12 python3.11 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)
endif

.PHONY: help demo demo-slurm demo-elastic test check format bench clean

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.runtime ## 178 molecules and ions through the daemon, from a CSV file to a table of results
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/g2/demo.sh

demo-slurm: $(VENV)/.runtime ## the same through a real Slurm, over SSH; both are started for it (as root, on Debian)
	@.ci/install-services $(BIN)/python
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m examples.demo_slurm g2

demo-elastic: $(VENV)/.runtime ## elastic constants of silicon by pw.x on a real Slurm: a relaxation, strains, a report (as root, on Debian)
	@.ci/install-services $(BIN)/python
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m examples.demo_slurm elastic

test: $(VENV)/.dev ## the test suite; ends with what was left out and why (TESTS="tests/domain -k ulid" narrows it)
	@.ci/install-services $(BIN)/python
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=$(WORKERS) $(TESTS)

check: $(VENV)/.dev ## style, types, layers, and that nothing of one machine is in the tree
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-cache
	.ci/clean-tree

format: $(VENV)/.dev ## put the code into the house style
	$(BIN)/ruff check --fix-only $(CODE)
	$(BIN)/ruff format $(CODE)

bench: $(VENV)/.dev ## measure, each figure beside its baseline; a table and JSON
	@$(BIN)/python -m benchmarks

clean: ## remove everything that was made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist demo-results
	find src tests examples monitoring -name __pycache__ -type d -prune -exec rm -rf {} +

# The demo needs only what a user needs, so that it starts soon; the rest comes with the first test or check.
$(VENV)/.runtime: $(VENV)/.made $(PINS)
	@echo "installing Penstock and tblite into $(VENV) (once)"
	@$(PIP) --editable '.[xtb]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made $(PINS)
	@echo "installing Penstock with its test and check tools into $(VENV) (once)"
	@$(PIP) --editable '.[all,dev]'
	@touch $@ $(VENV)/.runtime

$(VENV)/.made:
	@.ci/make-venv "$(PYTHON)" $(VENV)
	@touch $@
