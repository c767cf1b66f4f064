# Everything a newcomer needs: `make demo` and `make test` set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pictures are written to files, never shown in a window.
export MPLBACKEND := Agg
# The sample that `make mutants`, `make maps` and `make networks` draw; each has a size of its own.
SEED ?= 1
COUNT ?=
# The oldest Python that pyproject.toml allows.
OLDEST_PYTHON ?= python3.11
# By how much a ratio of `make bench-compare` may be worse than the stored one.
SLOWER ?= 1.5

.DEFAULT_GOAL := help
.PHONY: help demo check test lint types verifytypes fast unit docs coverage mutants maps networks modules trainings kills faults integrations integrate durations bench bench-compare oldest lock dist smoke format clean

# Two processes of one thread each; conftest.py shares the tests out among them by their durations.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS)

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed ## Train a network on 20 images, watch them become attractors, get a picture (a few minutes)
	@# The matrices are small: one thread is as fast as two, and does not wait for a core that is busy.
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore::FutureWarning examples/demo.py # those are Lightning's own

check: $(VENV)/installed-test ## Lint, types and the fast tests: before each commit
	@$(MAKE) --no-print-directory --jobs 2 lint types fast

test: $(VENV)/installed-test ## Lint, types, tests with doctests and README examples, docs; CI runs verifytypes, oldest and smoke too
	@$(MAKE) --no-print-directory --jobs 2 lint types docs
	@$(MAKE) --no-print-directory unit

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-test
	$(BIN)/pyright

verifytypes: $(VENV)/installed-test ## Check that every public name has a type, as a type checker of a user sees it
	PATH="$(abspath $(BIN)):$$PATH" pyright --verifytypes memzoo --ignoreexternal

fast: $(VENV)/installed-test
	$(PYTEST) -m "not slow"

unit: $(VENV)/installed-test
	$(PYTEST)

coverage: $(VENV)/installed-test ## Run all tests and report the branches of memzoo that none of them takes
	$(PYTEST) -k "not full_disk" --cov --cov-report term-missing:skip-covered # a full disk has no room for coverage either

mutants: $(VENV)/installed-test ## Measure how many of COUNT small mistakes, drawn by SEED, the tests notice
	$(BIN)/python -m tools.mutants --seed $(SEED) $(if $(COUNT),--count $(COUNT))

maps: $(VENV)/installed-test ## Measure COUNT random maps of known spectrum, drawn by SEED, by every method
	$(BIN)/python -m tools.oracles maps --seed $(SEED) $(if $(COUNT),--count $(COUNT))

networks: $(VENV)/installed-test ## Certify COUNT small networks, drawn by SEED, and compare with long orbits in float64
	$(BIN)/python -m tools.oracles networks --seed $(SEED) $(if $(COUNT),--count $(COUNT))

modules: $(VENV)/installed-test ## Measure modules that were not written for memzoo by every function
	$(BIN)/python -m tools.oracles modules --seed $(SEED)

trainings: $(VENV)/installed-test ## Train COUNT small modules, drawn by SEED, with callbacks and without, and compare them
	$(BIN)/python -m tools.oracles trainings --seed $(SEED) $(if $(COUNT),--count $(COUNT))

kills: $(VENV)/installed-test ## Kill trainings, downloads and what else writes files at COUNT moments, drawn by SEED, and let them go on
	$(BIN)/python -m tools.oracles kills --seed $(SEED) $(if $(COUNT),--count $(COUNT))

faults: $(VENV)/installed-test ## Damage COUNT files that memzoo reads and writes, drawn by SEED, and use them
	$(BIN)/python -m tools.oracles faults --seed $(SEED) $(if $(COUNT),--count $(COUNT))

durations: $(VENV)/installed-test ## Measure how long each test takes, for the order of the tests and for `make check`
	$(PYTEST) --record-durations

integrations: $(VENV)/installed-test ## Measure autoencoders of other packages; uses those installed, else a new .venv-integrations
	@if $(BIN)/python -c 'import accelerate, diffusers, monai, pythae, transformers' 2> /dev/null; then \
		$(PYTEST) tests/integrations; \
	else \
		$(MAKE) --no-print-directory VENV=.venv-integrations EXTRAS=test,integrations integrate; \
	fi

integrate: $(VENV)/installed-test
	$(PYTEST) tests/integrations

docs: $(VENV)/installed-test ## Build the documentation into docs/_build
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

bench: $(VENV)/installed ## Time the measurements as ratios against plain PyTorch
	$(BIN)/python benchmarks/ratios.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/overhead.py

bench-compare: $(VENV)/installed ## Time the short ones again and compare their ratios with the stored ones
	$(BIN)/python benchmarks/ratios.py --quick
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/compare.py --slower $(SLOWER)

oldest: ## Install exactly the declared lower bounds into .venv-oldest, and run the fast tests there
	@found=$$($(OLDEST_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null); \
	test "$$found" = 3.11 || { \
		echo "make oldest needs Python 3.11, and $(OLDEST_PYTHON) is $${found:-not there}: make oldest OLDEST_PYTHON=PATH" >&2; \
		exit 1; \
	}
	@$(MAKE) --no-print-directory PYTHON=$(OLDEST_PYTHON) VENV=.venv-oldest EXTRAS=test CONSTRAINED=yes fast

lock: $(VENV)/installed-test ## Write requirements-dev.lock again; LOCK=--upgrade takes the newest versions
	$(BIN)/python -m pip install -q 'uv>=0.5'
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --extra dev --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command 'make lock' $(LOCK) -o requirements-dev.lock pyproject.toml

dist: $(VENV)/installed-test ## Build the source distribution and the wheel into dist
	rm -rf dist
	$(BIN)/python -m build --outdir dist

smoke: dist ## Install what was built into a new environment and try it there; SMOKE=--all verifies all it carries
	$(BIN)/python tools/smoke.py $(SMOKE) dist/*.whl
	$(BIN)/python tools/smoke.py $(SMOKE) dist/*.tar.gz

format: $(VENV)/installed-test ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environments and everything built
	rm -rf $(VENV) .venv-oldest .venv-integrations docs/_build build dist demo reproduced

# A new environment is marked as unfinished until memzoo is in it: when the set-up was interrupted, or its Python has gone,
# it is made again from the beginning. One that was finished is only ever added to, so that a failed upgrade leaves it.
SOUND := $(shell test ! -e $(VENV)/unfinished && $(BIN)/python -c '' 2> /dev/null && echo yes)
ifneq ($(SOUND),yes)
.PHONY: $(VENV)/installed
endif
EXTRAS := test,docs
# With CONSTRAINED=yes the dependencies of memzoo are held at their lower bounds.
PIP = $(BIN)/python -m pip install -q $(if $(CONSTRAINED),--constraint $(VENV)/constraints.txt)

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "memzoo needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Setting up $(VENV): PyTorch and the rest, a few GB, one to a few minutes ..."
	@test "$(SOUND)" = yes && $(BIN)/python -m pip --version > /dev/null 2>&1 || \
		{ rm -rf $(VENV) && mkdir -p $(VENV) && touch $(VENV)/unfinished && $(PYTHON) -m venv $(VENV); }
	@test -z "$(CONSTRAINED)" || $(BIN)/python tools/lower_bounds.py > $(VENV)/constraints.txt
	$(PIP) -e .
	@rm -f $(VENV)/unfinished
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) -e '.[$(EXTRAS)]'
	@touch $@
