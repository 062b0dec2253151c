# `make demo`: the whole road on a sample of real recordings.  `make test`: the tests.  Both set up .venv on first use.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: install demo test test-slow lint embedded

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-dev.txt constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
	touch $@

demo: $(INSTALLED)
	$(BIN)/python -m demo.run

# One thread per process: several test processes share the cores.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n auto

test-slow: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not gpu" -n auto

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Trains the encoder in pretrain/embedded/encoder anew: hours on a CPU; goes on where it stopped. docs/embedded.md
embedded: $(INSTALLED)
	$(BIN)/python -m scripts.embedded.corpus -o embedded-work/corpus --shards 56 --jobs 2
	$(BIN)/python -m scripts.embedded.train_encoder --corpus embedded-work/corpus --state embedded-work/state -o pretrain/embedded/encoder
