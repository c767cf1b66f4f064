# Everything a newcomer needs: `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pictures are written to files, never shown in a window.
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help demo check test lint types fast unit docs coverage durations bench format clean

# Two processes of one thread each; conftest.py shares the tests out among them by their durations.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist loadgroup

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Train a network on 20 images, watch them become attractors, get a picture (a few minutes)
	$(BIN)/python -W ignore::FutureWarning examples/demo.py # those are Lightning's own

check: $(VENV)/installed-test ## Lint, types and the fast tests: before each commit
	@$(MAKE) --no-print-directory --jobs 2 lint types fast

test: $(VENV)/installed-test ## Lint, types, tests with doctests and README examples, docs: what CI runs
	@$(MAKE) --no-print-directory --jobs 2 lint types docs
	@$(MAKE) --no-print-directory unit

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/pyright

fast: $(VENV)/installed-test
	$(PYTEST) -m "not slow"

unit: $(VENV)/installed-test
	$(PYTEST)

coverage: $(VENV)/installed-test ## Run all tests and report the branches of memzoo that none of them takes
	$(PYTEST) --cov --cov-report term-missing:skip-covered

durations: $(VENV)/installed-test ## Measure how long each test takes, for the order of the tests and for `make check`
	$(PYTEST) --record-durations

docs: $(VENV)/installed-test ## Build the documentation into docs/_build
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

bench: $(VENV)/installed ## Time the measurements as ratios against plain PyTorch
	$(BIN)/python benchmarks/ratios.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/overhead.py

format: $(VENV)/installed-test ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and everything built
	rm -rf $(VENV) docs/_build build dist demo reproduced

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "memzoo needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Setting up $(VENV): PyTorch and the rest, a few GB, one to a few minutes ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install -q -e '.[test,docs]'
	@touch $@
