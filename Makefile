# setup   make the environment in .venv            check   lint, types, architecture, generated pages
# test    the whole suite                          demo    a scripted agent on the built-in paper gateway
# docs    write the generated pages                bench   print the figures, each beside its anchor
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.made-from-pyproject

.PHONY: setup check test demo docs bench

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[postgresql]' --group dev
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/check_architecture.py
	$(BIN)/python scripts/generate_docs.py --check

test: setup
	$(BIN)/python -m pytest -n auto --dist loadgroup

demo: setup
	$(BIN)/ibkr-mcp-server demo

docs: setup
	$(BIN)/python scripts/generate_docs.py

bench: setup
	$(BIN)/python -m scripts.bench
