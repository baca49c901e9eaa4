# The two commands that matter: `make demo` and `make test`. Both set up .venv first, once.
#
# PYTHON=python3.12 chooses another interpreter; pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...) count.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
EXTRAS := curation,train,release-codecs,distributed,eval,orchestration,dev
TORCH := $(shell sed -n 's/^torch==/torch==/p' constraints.txt)
UI_HOST ?= 127.0.0.1
UI_PORT ?= 3000

# Waiting threads sleep instead of spinning, or two processes on two cores starve each other. No library calls home.
export OMP_WAIT_POLICY ?= PASSIVE
export GX_ANALYTICS_ENABLED ?= false
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo ui repro test test-slow lint format clean-data

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile | expand -t 18

install: $(INSTALLED) ## make .venv and install everything, once

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: found $$($(PYTHON) --version 2>&1); expected Python 3.11 or later; name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make virtual environments; expected its venv module; run: apt install python3-venv" >&2; exit 2; }
	@echo "installing into $(VENV): some 200 packages, once"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt $(TORCH)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(INSTALLED) ## the whole lineage, raw video to release, through Dagster
	$(BIN)/mova demo

ui: $(INSTALLED) ## the Dagster interface, on what the demo made
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m orchestration.ui --host $(UI_HOST) --port $(UI_PORT)

repro: $(INSTALLED) ## the same lineage through DVC: only what changed runs
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/dvc repro

test: lint ## lint, types, contracts, and every test that is not marked slow
	$(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile

test-slow: $(INSTALLED) ## the tests marked slow: kills, resumes, two processes
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED) ## style, types and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## mend style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean-data: ## remove everything the lineage made (not the environment)
	rm -rf data .dagster
