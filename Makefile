# `make demo`: the whole road on a sample of real recordings.  `make test`: the tests.  Both set up .venv on first use.

PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: install demo test test-slow lint embedded embedded-encoder embedded-clips embedded-vocoder embedded-refiner embedded-base

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-dev.txt constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 10) else "Python 3.10 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
# Only its weights are read, and what it depends on has to be compiled. Without it, voices are not compared.
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps Resemblyzer -c constraints.txt
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

# Trains the models in pretrain/embedded anew: the encoder, and what sings from its units. Hours on a CPU; each part goes on
# where it stopped. VOICES: one folder of recordings per speaker. docs/embedded.md
VOICES ?= dataset_raw
BASE := embedded-work/base
BASE_STEPS := 5400
VOCODER_STEPS := 1750
REFINER_STEPS := 36000

# One after the other: each needs the one before. With another encoder delete $(BASE) and logs/embedded-models first.
embedded:
	$(MAKE) embedded-encoder
	$(MAKE) embedded-vocoder
	$(MAKE) embedded-refiner
	$(MAKE) embedded-base

embedded-encoder: $(INSTALLED)
	$(BIN)/python -m scripts.embedded.corpus -o embedded-work/corpus --shards 56 --jobs 2
	$(BIN)/python -m scripts.embedded.train_encoder --corpus embedded-work/corpus --state embedded-work/state -o pretrain/embedded/encoder

embedded-clips: $(BASE)/start/G_0.pth
	$(BIN)/python preprocess_hubert_f0.py --in_dir $(BASE)/44k -c $(BASE)/config.json -dc $(BASE)/diffusion.yaml --use_diff --f0_predictor auto --num_processes 2

embedded-vocoder: embedded-clips
	sed 's#filelists/#$(BASE)/#' configs_template/vocoder_subtractive_template.json > $(BASE)/vocoder.json
	$(BIN)/python train_vocoder.py -c $(BASE)/vocoder.json -m embedded-models --max_steps $(VOCODER_STEPS)
	$(BIN)/python -m scripts.release_vocoder -m logs/embedded-models/vocoder/model_$(VOCODER_STEPS).ckpt -o pretrain/embedded/subtractive

embedded-refiner: embedded-clips
	sed 's/^  lr: .*/  lr: 0.001/; s/^  decay_step: .*/  decay_step: 6000/; s/^  gamma: .*/  gamma: 0.5/' $(BASE)/diffusion.yaml > $(BASE)/refiner.yaml
	$(BIN)/python train_diff.py -c $(BASE)/refiner.yaml -m embedded-models --max_steps $(REFINER_STEPS)
	$(BIN)/python -m scripts.release_refiner -m logs/embedded-models/diffusion/model_$(REFINER_STEPS).pt -o pretrain/embedded/refiner

embedded-base: embedded-clips
	$(BIN)/python -m scripts.embedded.train_base -c $(BASE)/config.json --start $(BASE)/start --folder $(BASE)/logs --steps $(BASE_STEPS)
	$(BIN)/python -m scripts.make_base -m $(BASE)/logs/G_$(BASE_STEPS).pth -o pretrain/embedded/base

$(BASE)/start/G_0.pth: $(INSTALLED)
	$(BIN)/python -m scripts.embedded.base_corpus -i $(VOICES) -o $(BASE)/raw --jobs 2
	$(BIN)/python resample.py --in_dir $(BASE)/raw --out_dir2 $(BASE)/44k
	$(BIN)/python preprocess_flist_config.py --preset embedded --source_dir $(BASE)/44k --config_dir $(BASE) --train_list $(BASE)/train.txt --val_list $(BASE)/val.txt
	$(BIN)/python -m scripts.embedded.base_start --base pretrain/embedded/small --voices lj martin pjs -c $(BASE)/config.json -o $(BASE)/start
