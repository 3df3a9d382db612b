# Two commands do all the set-up: `make demo` (the main job, offline, on packaged models) and `make test` (lint, types, tests).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
CLIENTS := .venv-clients
CLIENTS_STAMP := $(CLIENTS)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
# A worker for each core, of one thread each; all tests of a file run in one worker, in the order of tests/conftest.py.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all test-gpu test-clients docs install clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/flipkd demo --output_dir demo

# Lint, types and the tests, without those marked `slow`.
test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -m "not slow"

# The same with all tests, as CI runs them.
test-all: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

# The tests marked `gpu`; where there is no GPU they say that they were skipped.
test-gpu: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m gpu -rs

# The server with the clients of other APIs, in an environment of their own: they need other versions of some packages.
test-clients: $(CLIENTS_STAMP)
	OMP_NUM_THREADS=1 $(CLIENTS)/bin/python -m pytest tests/clients -rs

# The documentation site in site/; a broken link is an error, but not with --quiet, which hides it from --strict too.
docs: $(DOCS_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt src/flipkd/__init__.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "flipkd needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment: on Debian, apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,report,serve,onnx,ray,index,retrieval,dev]'
	@touch $@

$(CLIENTS_STAMP): pyproject.toml constraints-clients.txt
	@test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-clients.txt --editable '.[train,serve,clients,dev]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) $(CLIENTS) demo site .pytest_cache .mypy_cache .ruff_cache .hypothesis
