# `make demo` and `make test` need Python 3.10+, make and a package index; everything else is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint fuzz clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[runner,embedded,dev]'
	mkdir -p $(VENV)/src && ln -sfn "$(CURDIR)" $(VENV)/src/defectforge
	touch $@

demo: $(STAMP)
	$(BIN)/defectforge demo --out demo-out

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Ten thousand wild requests, and Ctrl-C at hundreds of moments; takes minutes.
fuzz: $(STAMP)
	DEFECTFORGE_FUZZ=10000 $(BIN)/python -m pytest tests/server/runner/test_runner_fuzz.py tests/server/runner/test_runner_interrupts.py

clean:
	rm -rf $(VENV) demo-out build *.egg-info
