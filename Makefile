# `make demo` and `make test` need Python 3.10+, make and a package index; everything else is set up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo compare benefit test lint fuzz chaos cluster clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[runner,embedded,benefit,lora,export,dev]'
	mkdir -p $(VENV)/src && ln -sfn "$(CURDIR)" $(VENV)/src/defectforge
	touch $@

demo: $(STAMP)
	$(BIN)/defectforge demo --out demo-out

# Every method on the same drawn nuts, masks and seeds: compare-out/compare.html.
compare: $(STAMP)
	$(BIN)/defectforge compare --out compare-out $(COMPARE_ARGS)

# Does a detector gain? On drawn nuts; `make benefit DATA=DIR` on real photos in MVTec AD layout. DATA's category and
# type: BENEFIT_ARGS="--category bottle --type contamination".
PAIRS ?= $(if $(DATA),100,40)
benefit: $(STAMP)
	$(BIN)/defectforge benefit $(if $(DATA),--real "$(DATA)",--drawn --steps 200) --make $(PAIRS) \
		--out $(if $(DATA),benefit-out/real,benefit-out/drawn) $(BENEFIT_ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Ten thousand wild requests, and Ctrl-C at hundreds of moments; takes minutes.
fuzz: $(STAMP)
	DEFECTFORGE_FUZZ=10000 $(BIN)/python -m pytest tests/server/runner/test_runner_fuzz.py tests/server/runner/test_runner_interrupts.py

# A thousand jobs on two servers, and twenty kill -9 of servers and runner; CHAOS_ARGS="--kind comfyui --comfyui PATH".
chaos: $(STAMP)
	$(BIN)/python tests/chaos/chaos.py $(CHAOS_ARGS)

# The tests that need Ray (79 MB), which `make test` skips where it is not installed.
cluster: $(STAMP)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[cluster,dev]'
	$(BIN)/python -m pytest -m ray $(PYTEST_ARGS)

clean:
	rm -rf $(VENV) demo-out compare-out benefit-out build *.egg-info
