# Everything a newcomer needs: `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pictures are written to files, never shown in a window.
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: help demo test lint types unit docs bench mutants format clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Train a network on 20 images, watch them become attractors, get a picture (a few minutes)
	$(BIN)/python -W ignore::FutureWarning examples/demo.py # those are Lightning's own

test: lint types unit docs ## Lint, types, tests with doctests and README examples, docs: what CI runs

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/pyright

unit: $(VENV)/installed-test
	$(BIN)/python -m pytest -q

docs: $(VENV)/installed-test ## Build the documentation into docs/_build
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

bench: $(VENV)/installed ## Time the measurements as ratios against plain PyTorch
	$(BIN)/python benchmarks/ratios.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/overhead.py

SEED ?= 1
COUNT ?= 150
mutants: $(VENV)/installed-test ## Measure how many of COUNT small mistakes, drawn by SEED, the tests notice
	$(BIN)/python -m tools.mutants --seed $(SEED) --count $(COUNT)

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
