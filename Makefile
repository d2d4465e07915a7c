# Python 3.11 or newer and make are enough: every target makes what it needs.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV ?= .venv
# The first of these that is recent enough makes the environment.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
CONSTRAINTS ?= constraints.txt
# On Linux the plain name would bring gigabytes of CUDA; this one is found only where
# a CPU build is offered. The tests against PyTorch twins are skipped without it.
TORCH ?= torch==2.13.0$(if $(filter Darwin,$(shell uname -s)),,+cpu)
ARGS ?=
SMOKE_DIR ?= runs/smoke

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet --quiet
INSTALL := $(PIP) install --constraint $(CONSTRAINTS)
INPUTS := pyproject.toml $(CONSTRAINTS)

# Most of the fast suite is compilation, on one core at a time. A test file stays in
# one process, for its fixtures are shared.
PARALLEL ?= --numprocesses=auto --maxprocesses=4 --dist=loadfile

# Tests compile much and compute little; 0 gives the compiler back its optimisations.
test slow: export JAX_DISABLE_MOST_OPTIMIZATIONS ?= 1
test slow: export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
test slow: export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0.2
# The workers fill the cores: NumPy's and PyTorch's threads would wait in busy loops.
test slow: export OMP_NUM_THREADS ?= 1
types: export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

.PHONY: places
places: $(VENV)/eval.stamp ## Grow the inpainting GAN on photographs; ARGS="better --help" goes on.
	$(RUN) -m experiments.places_grow $(ARGS)

.PHONY: views
views: $(VENV)/eval.stamp ## Generate missing views of objects; ARGS="paper --help" goes on.
	$(RUN) -m experiments.nmr_dimvida $(ARGS)

.PHONY: test
test: $(VENV)/dev.stamp ## Run the fast tests.
	$(RUN) -m pytest $(PARALLEL) $(ARGS)

.PHONY: slow
slow: $(VENV)/dev.stamp ## Run the slow tests, too long for `make test`.
	$(RUN) -m pytest -m slow --numprocesses=2 --dist=loadfile $(ARGS)

.PHONY: smoke
smoke: $(VENV)/eval.stamp ## Train each system for about a minute, into SMOKE_DIR.
	$(RUN) -m experiments.places_grow smoke --run-dir $(SMOKE_DIR)/places
	$(RUN) -m experiments.nmr_dimvida smoke --run-dir $(SMOKE_DIR)/dimvida

.PHONY: bench
bench: $(VENV)/dev.stamp ## Measure the speed beside PyTorch on CPU: a quarter of an hour.
	JAX_PLATFORMS=cpu $(RUN) -m benchmarks $(ARGS)

.PHONY: bench-gpu
bench-gpu: $(VENV)/dev.stamp ## The same on a GPU, its goals first; needs GPU builds of JAX and PyTorch.
	$(RUN) -m benchmarks --budget-s 480 --rounds 3 $(ARGS)

.PHONY: check
check: style lint imports types test ## Run all that CI demands of a change, but the slow tests.

.PHONY: style
style: $(VENV)/dev.stamp ## Is everything formatted?
	$(RUN) -m ruff format --check .

.PHONY: lint
lint: $(VENV)/dev.stamp ## Look for mistakes that ruff knows.
	$(RUN) -m ruff check .

.PHONY: imports
imports: $(VENV)/dev.stamp ## Do imports point down?
	$(VENV)/bin/lint-imports --no-logo

.PHONY: types
types: $(VENV)/dev.stamp ## Check the types.
	$(RUN) -m pyright --pythonpath $(RUN)

.PHONY: format
format: $(VENV)/dev.stamp ## Format the code and mend what ruff can.
	$(RUN) -m ruff check --fix-only .
	$(RUN) -m ruff format .

.PHONY: clean
clean: ## Remove the environment and all caches, but no run.
	rm -rf $(VENV) .cache .hypothesis .import_linter_cache .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# 3.14 is the newest Python with wheels for every pinned version; what is newer still
# comes second.
$(VENV)/pyvenv.cfg:
	@for newest in 14 99; do \
	  for python in $(PYTHON); do \
	    if "$$python" -c "import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $$newest))" 2>/dev/null; then \
	      echo "Making $(VENV) with $$("$$python" --version)."; \
	      exec "$$python" -m venv --clear $(VENV); \
	    fi; \
	  done; \
	done; \
	echo "error: jaxgrow needs Python 3.11 or newer and its venv module (on Debian and Ubuntu: apt install python3-venv), and found none among $(PYTHON): name another with PYTHON=/path/to/python." >&2; \
	exit 1

$(VENV)/eval.stamp: $(VENV)/pyvenv.cfg $(INPUTS)
	@echo "Installing pinned versions, about 900 MB: a minute or two."
	@$(INSTALL) setuptools
	@$(INSTALL) --no-build-isolation --editable '.[eval]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/eval.stamp
	@echo "Installing what the tests need."
	@$(INSTALL) --no-build-isolation --editable '.[dev]'
	@$(INSTALL) $(TORCH) 2>/dev/null \
	  || echo "No CPU build of PyTorch here: the tests against it will be skipped."
	@touch $@
