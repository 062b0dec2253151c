# `make demo`: the whole road on a sample of real recordings.  `make test`: the tests.  Both set up .venv on first use.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: install demo test test-slow lint embedded embedded-encoder embedded-base

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

# Trains the encoder in pretrain/embedded/encoder anew, then the base model that goes with it: hours on a CPU; both go on
# where they stopped. VOICES: one folder of recordings per speaker. docs/embedded.md
VOICES ?= dataset_raw
BASE := embedded-work/base
BASE_STEPS := 5000

embedded: embedded-encoder embedded-base

embedded-encoder: $(INSTALLED)
	$(BIN)/python -m scripts.embedded.corpus -o embedded-work/corpus --shards 56 --jobs 2
	$(BIN)/python -m scripts.embedded.train_encoder --corpus embedded-work/corpus --state embedded-work/state -o pretrain/embedded/encoder

embedded-base: $(BASE)/start/G_0.pth
	$(BIN)/python preprocess_hubert_f0.py --in_dir $(BASE)/44k -c $(BASE)/config.json --f0_predictor fcpe --num_processes 2
	$(BIN)/python -m scripts.embedded.train_base -c $(BASE)/config.json --start $(BASE)/start --folder $(BASE)/logs --steps $(BASE_STEPS)
	$(BIN)/python -m scripts.make_base -m $(BASE)/logs/G_$(BASE_STEPS).pth -o pretrain/embedded/base

$(BASE)/start/G_0.pth: $(INSTALLED)
	$(BIN)/python -m scripts.embedded.base_corpus -i $(VOICES) -o $(BASE)/raw --jobs 2
	$(BIN)/python resample.py --in_dir $(BASE)/raw --out_dir2 $(BASE)/44k
	$(BIN)/python preprocess_flist_config.py --preset embedded --source_dir $(BASE)/44k --config_dir $(BASE) --train_list $(BASE)/train.txt --val_list $(BASE)/val.txt
	$(BIN)/python -m scripts.embedded.base_start --base pretrain/embedded/small --voices lj martin pjs -c $(BASE)/config.json -o $(BASE)/start
