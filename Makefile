# Two targets do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
BIN = .venv/bin
INSTALLED = .venv/installed

.PHONY: quickstart test lint test-python benchmarks reference clean

quickstart: $(INSTALLED)
	$(BIN)/elektron quickstart

test: lint test-python

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-python: $(INSTALLED)
	$(BIN)/python -m pytest

benchmarks: $(INSTALLED)
	$(BIN)/python benchmarks/pretrain_step.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/finetune.py

reference: $(INSTALLED)
	$(BIN)/python -m elektron.reference > docs/reference.md

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv quickstart
