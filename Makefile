# make demo: the whole product at work, offline.   make test: every check.   Both set up what they need.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test format clean

demo: .venv/installed
	$(BIN)/progeo demo

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# uv installs everything in seconds; pip, which every Python has, brings uv.
.venv/installed: pyproject.toml packages/toy-city/pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[all,dev]" --editable packages/toy-city
	touch $@

clean:
	rm -rf .venv
