# Everything is set up in .venv from the exact versions of constraints.txt; nothing else is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: help demo test lint types format performance clean

help:
	@echo "make demo         render a flight and its saliency into out/demo"
	@echo "make test         all tests"
	@echo "make lint types   ruff; mypy on an installed copy"
	@echo "make performance  measure this machine, into docs/performance.md"

# The demo needs the runtime alone; tests and training need torch. pip is told of torch by its exact version
# before anything else asks for it.
$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: $(VENV)/.python $(SOURCES)
	$(PIP) -e '.[video]'
	touch $@

$(VENV)/.test: $(VENV)/.python $(SOURCES)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/uva-edge demo -o out/demo

test: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Type checkers don't follow the mapping of export/ and runtimes/ into the package: check an installed copy.
types: $(VENV)/.test
	rm -rf build
	$(PIP) --no-deps --target build/types .
	MYPYPATH=build/types $(BIN)/mypy -p uva_edge

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

performance: $(VENV)/.test
	$(BIN)/python benchmarks/performance.py --write docs/performance.md

clean:
	rm -rf $(VENV) build out *.egg-info
