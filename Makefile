# The commands of this project; `make help` lists them. Settings are given as `make train CONFIG=experiments/other.py`.

CONFIG      ?= experiments/factbook.py
WORKDIR     ?= runs/$(basename $(notdir $(CONFIG)))
ACCELERATOR ?= cpu
PYTHON      ?= python3
VENV        ?= .venv
OPTIONS     ?=
PYTEST_ARGS ?=

ifeq ($(filter $(ACCELERATOR),cpu cuda cuda13 tpu),)
  $(error ACCELERATOR=$(ACCELERATOR) is not known; it must be cpu, cuda, cuda13 or tpu)
endif

# Those that setup.cfg names: 3.11 and so on.
PYTHONS := $(shell sed -n 's/.*Python :: \(3\..*\)/\1/p' setup.cfg)

BIN   := $(VENV)/bin
# One stamp per accelerator: set-up is redone only when the dependencies or the accelerator change.
STAMP := $(VENV)/.installed-$(ACCELERATOR)
REALM := $(BIN)/realm
# The environment of the PyTorch port, apart from ours: it needs an old NumPy.
PARITY := .venv-parity

.DEFAULT_GOAL := help
.PHONY: help setup train finetune evaluate report test lint chaos fuzz docs tour bench parity clean

help:  ## list these commands
	@awk -F ':.*##' '/^[a-z]+:.*##/ {printf "  make %-10s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "settings, with what they are now:"
	@echo "  CONFIG=$(CONFIG)        experiment file"
	@echo "  WORKDIR=$(WORKDIR)      folder of the run"
	@echo "  OPTIONS='$(OPTIONS)'    options of the job, such as '--seed 1 --pretrain.steps 200'"
	@echo "  ACCELERATOR=$(ACCELERATOR)    cpu, cuda (CUDA 12), cuda13 or tpu"
	@echo "  PYTHON=$(PYTHON)        one of $(PYTHONS); makes the virtual environment VENV=$(VENV)"

setup: $(STAMP)  ## make the virtual environment and install everything

$(STAMP): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split())' || \
	  { echo "$(PYTHON) is none of Python $(PYTHONS); name one that is: make PYTHON=python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,factbook,$(ACCELERATOR)]'
	@rm -f $(VENV)/.installed-* && touch $@

train: setup  ## all stages of the experiment, from data to report; goes on where it was stopped
	$(REALM) run $(CONFIG) --workdir $(WORKDIR) $(OPTIONS)

finetune evaluate report: setup
	$(REALM) $@ $(CONFIG) --workdir $(WORKDIR) $(OPTIONS)

finetune:  ## fine-tune on questions
evaluate:  ## measure retrieval and question answering
report:  ## write the HTML page of the run

# Three files at once, as some wait for processes that they start while two cores have time; without reordering in the
# order of collection, where tests/conftest.py puts the longest first.
test: lint  ## lint and all tests
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[beam,bench]'
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests $(PYTEST_ARGS)

lint: setup  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

chaos: setup  ## 60 kills and other faults of a tiny run, which must end as if nothing had been; ten minutes
	$(BIN)/python -m tests.robustness.chaos $(OPTIONS)

fuzz: setup  ## 2,000 bad inputs, and a table of how they ended; some minutes
	$(BIN)/python -m tests.robustness $(OPTIONS)

# mkdocs-material announces its successor on each start; the variable keeps it quiet.
docs: setup  ## build the site of the documents: build/site/index.html
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

tour: setup  ## execute docs/tour.ipynb anew, on the run in WORKDIR
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	WORKDIR=$(abspath $(WORKDIR)) $(BIN)/jupyter nbconvert --to notebook --execute --inplace docs/tour.ipynb

bench: setup  ## run the benchmarks
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@set -e; for file in $(filter-out %/compare.py,$(wildcard benchmarks/[a-z]*.py)); do echo "== $$file"; $(BIN)/python $$file; done

parity: setup $(PARITY)/.installed  ## compare with the PyTorch port of REALM, number by number
	@rm -rf build/parity
	@set -e; for seed in 0 1 2 3; do \
	  echo "model $$seed"; $(PARITY)/bin/python parity/port.py build/parity/$$seed --seed $$seed; done
	$(BIN)/python parity/compare.py build/parity/*
	@set -e; for folder in build/parity/*; do $(PARITY)/bin/python parity/port.py $$folder --reload; done

$(PARITY)/.installed: parity/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "the port's NumPy has no wheel for $(PYTHON); name Python 3.11 or 3.12: make parity PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(PARITY)
	$(PARITY)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:  ## remove the virtual environments and caches; runs stay
	rm -rf $(VENV) .venv .venv-* build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
