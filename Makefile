# Two targets do everything on a fresh machine: `make quickstart` and `make test`.
# `make test-extras` runs the tests of optional dependencies, `make test-all` also those that take a minute or more.
PYTHON ?= python3
BIN = .venv/bin
INSTALLED = .venv/installed
EXTRAS = .venv/extras
SITE = .venv/site

.PHONY: quickstart test test-all lint test-python test-extras benchmarks gpu-check reference docs docs-serve clean

quickstart: $(INSTALLED)
	$(BIN)/elektron quickstart

test: lint test-python

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Two processes of one thread each: most tests leave a second thread idle.
test-python: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test-extras: $(EXTRAS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m 'extras and not slow'

benchmarks: $(INSTALLED)
	$(BIN)/python benchmarks/pretrain_step.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/finetune.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/goodput.py

# On a machine with a GPU: the tests that need one, then what each recipe makes of it.
gpu-check: $(INSTALLED)
	$(BIN)/python -m pytest -m cuda
	$(BIN)/python benchmarks/gpu_check.py

reference: $(INSTALLED)
	$(BIN)/python -m elektron.reference > docs/reference.md

# The site: built into site/ without a network, or served at http://127.0.0.1:8000 and rebuilt on changes.
docs: $(SITE)
	$(BIN)/python docs/hooks.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

docs-serve: $(SITE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

test-all: lint $(EXTRAS)
	$(BIN)/python -m pytest -m ""

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

$(EXTRAS): $(INSTALLED)
	$(BIN)/pip install --quiet --editable '.[explain,privacy,onnx,serve,track,browser]'
	touch $@

$(SITE): $(INSTALLED)
	$(BIN)/pip install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv quickstart site
