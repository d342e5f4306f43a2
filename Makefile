# setup   make the environment in .venv            check   lint, types, architecture, generated pages
# test    the whole suite                          demo    a scripted agent on the built-in paper gateway
# soak    an hour of simulated trading with random faults, for each of several seeds
# docs    write the generated pages                bench   print the figures, each beside its anchor
# crashes  kill a server 200 times at every step of the order path and print what was checked
# statemachine  let agents, market, gateway and people play 200 long games, and check the invariants after each move
# coverage  run the suite and print how much of each package ran; fails when it is too little of the safety modules
# mutations  disable each check of the policy in turn and print which test notices
# scan    look the pinned dependencies up in the database of known vulnerabilities; needs the network
# lock    pin the newest dependencies that pyproject.toml allows, with their hashes
# fuzz-control  let schemathesis look for what the control API answers that its description does not say
# test-ib-insync   the adapter's suite with the archived ib_insync in place of ib_async, in an environment of its own
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Many tests wait for sockets and processes, so two workers for each core keep it busy.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) \* 2)
STAMP  := $(VENV)/.made-from-pyproject

# The tests start some hundred processes: without byte code each of them would compile the package anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: setup check test test-ib-insync soak demo docs bench coverage mutations crashes fuzz-control statemachine scan \
	lock

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/check_architecture.py
	$(BIN)/python scripts/generate_docs.py --check

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

# Both libraries own the folder `eventkit`, so ib_async has to go before ib_insync's eventkit is laid down.
INSYNC       := .venv-ib-insync
INSYNC_STAMP := $(INSYNC)/.made-from-pyproject

$(INSYNC_STAMP): pyproject.toml
	$(PYTHON) -m venv --clear $(INSYNC)
	$(INSYNC)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(INSYNC)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[ib-insync]' --group dev
	$(INSYNC)/bin/python -m pip uninstall --quiet --yes ib_async aeventkit
	$(INSYNC)/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps eventkit
	touch $@

test-ib-insync: $(INSYNC_STAMP)
	$(INSYNC)/bin/python -m pytest -n $(WORKERS) --dist loadgroup tests/contract tests/unit/broker tests/flow/test_broker_*.py \
		tests/flow/test_tools_*.py tests/flow/test_crashes.py --ignore=tests/contract/store

soak: setup
	SOAK_MINUTES=60 SOAK_SEEDS=1,2,3,4 $(BIN)/python -m pytest --timeout 0 -n auto tests/flow/test_soak.py

demo: setup
	$(BIN)/ibkr-mcp-server demo

docs: setup
	$(BIN)/python scripts/generate_docs.py

bench: setup
	$(BIN)/python -m scripts.bench

coverage: setup
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n $(WORKERS) --dist loadgroup
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m scripts.coverage_floors

mutations: setup
	$(BIN)/python -m scripts.mutations

crashes: setup
	$(BIN)/python -m scripts.crashes

statemachine: setup
	MACHINE_EXAMPLES=200 MACHINE_STEPS=50 $(BIN)/python -m pytest --timeout 0 -p no:xdist -q tests/flow/test_trading_machine.py

scan: setup
	$(BIN)/python scripts/scan.py $(SCAN_FLAGS)

lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--extra postgresql --group dev --upgrade --output-file requirements.lock pyproject.toml

fuzz-control: setup
	$(BIN)/python scripts/fuzz_control.py --max-examples 200
