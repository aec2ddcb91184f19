# Set-up in two commands:  make quickstart   make test
# Everything goes into $(VENV); PYTHON chooses the interpreter (3.11 or 3.12).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
PIP_HASHED := $(PIP_INSTALL) --require-hashes --no-deps --no-build-isolation
PACKAGING := setup.py pyproject.toml constraints.txt
# PINNED=1, as CI has it: tests, checks of style and the documentation run with files whose hashes are known.
TEST_READY := $(VENV)/$(if $(PINNED),.installed-pinned,.installed-test)
LINT_READY := $(VENV)/$(if $(PINNED),.installed-pinned,.installed-lint)
DOCS_READY := $(VENV)/$(if $(PINNED),.installed-pinned,.installed-docs)
# Of each fuzz target; FUZZ_TARGETS chooses some.
SECONDS := 600
FUZZ_TARGETS := tar tables json parquet exclusion image databin tokenizer checkpoint checkpoint_config export weights

.PHONY: help install quickstart test soak lint format docs docs-serve fuzz pins audit licences clean

help:
	@echo "make install     create $(VENV) and install mvlm-plugin there"
	@echo "make quickstart  install, prepare generated scenes, train, validate, write pictures"
	@echo "make test        install what the tests need and run them"
	@echo "make soak        a long training (memory, files, speed), and 56 kills of runs that must end with equal weights"
	@echo "make lint        check style and types"
	@echo "make format      rewrite the code in the project's style"
	@echo "make docs        build the documentation as a site (site/); a broken link is an error"
	@echo "make docs-serve  show the documentation at http://127.0.0.1:8000, built anew whenever a page changes"
	@echo "make fuzz        fuzz every reader of files from outside, SECONDS=600 each (FUZZ_TARGETS=...)"
	@echo "make pins        write the hashes that CI installs by, from constraints.txt (requirements/)"
	@echo "make audit       look up known vulnerabilities of all dependencies (needs the network)"
	@echo "make licences    write docs/licences.md from what is installed"
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

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/.installed-pinned: $(VENV)/.created $(PACKAGING) $(wildcard requirements/*.txt)
	@echo "installing the files of requirements/ into $(VENV)"
	$(PIP_HASHED) -r requirements/build.txt
	$(PIP_HASHED) -r requirements/ci.txt
	$(PIP_INSTALL) torch
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-fuzz: $(VENV)/.installed-test
	$(PIP_INSTALL) -e '.[fuzz]'
	@touch $@

$(VENV)/.installed-supply: $(VENV)/.created $(PACKAGING)
	$(PIP_INSTALL) uv pip-audit pip-licenses
	@touch $@

install: $(VENV)/.installed

quickstart: install
	PATH="$(abspath $(BIN)):$$PATH" bash examples/quickstart/run.sh

test: $(TEST_READY)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: $(VENV)/.installed-test
	$(BIN)/python tests/soak/steady.py
	for ranks in 1 2; do OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak.kills --kills 20 --ranks $$ranks || exit 1; done
	for task in vl_retrieval vl_vqa vl_nlvr2 vl_entailment; do \
	  OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak.kills --kills 4 --updates 14 --task $$task || exit 1; done

lint: $(LINT_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DOCS_READY)
	PATH="$(abspath $(BIN)):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(DOCS_READY)
	PATH="$(abspath $(BIN)):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

fuzz: $(VENV)/.installed-fuzz
	@for target in $(FUZZ_TARGETS); do \
	  $(BIN)/python -m tests.fuzz.run --target $$target --seconds $(SECONDS) || exit 1; \
	done

pins: $(VENV)/.installed-supply
	bash requirements/compile.sh $(BIN)/uv

audit: $(VENV)/.installed-supply
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements/ci.txt

licences: $(VENV)/.installed-test $(VENV)/.installed-supply
	bash requirements/licences.sh $(BIN) > docs/licences.md

clean:
	rm -rf runs/quickstart
