# Set-up in two commands:  make quickstart   make test
# Everything goes into $(VENV); PYTHON chooses the interpreter (3.11 or 3.12).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PACKAGING := setup.py pyproject.toml constraints.txt

.PHONY: help install quickstart test soak lint format clean

help:
	@echo "make install     create $(VENV) and install mvlm-plugin there"
	@echo "make quickstart  install, prepare generated scenes, train, validate, write pictures"
	@echo "make test        install what the tests need and run them"
	@echo "make soak        kill training runs 56 times and compare the weights that they end with (6 minutes)"
	@echo "make lint        check style and types"
	@echo "make format      rewrite the code in the project's style"
	@echo "make clean       remove what quickstart wrote (runs/quickstart)"

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo "mvlm-plugin needs Python 3.11 or 3.12; name one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created $(PACKAGING)
	@echo "installing into $(VENV) (a few minutes the first time)"
	$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[test]'
	@touch $@

$(VENV)/.installed-lint: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[lint]'
	@touch $@

install: $(VENV)/.installed

quickstart: install
	PATH="$(abspath $(BIN)):$$PATH" bash examples/quickstart/run.sh

test: $(VENV)/.installed-test
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: $(VENV)/.installed-test
	for ranks in 1 2; do OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak.kills --kills 20 --ranks $$ranks || exit 1; done
	for task in vl_retrieval vl_vqa vl_nlvr2 vl_entailment; do \
	  OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak.kills --kills 4 --updates 14 --task $$task || exit 1; done

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf runs/quickstart
