# make quickstart   set up; train on real digits, sample across w, draw the figures (minutes on two cores)
# make test         set up; lint and test (under ten minutes on two cores)
# make test-all     the same with the slow tests
# make lint format clean

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN ?= runs/digits

.PHONY: setup quickstart test test-all lint format clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

quickstart: setup
	$(BIN)/python analysis/quickstart.py run=$(RUN)

lint: setup
	$(BIN)/ruff check --output-format concise .
	$(BIN)/ruff format --check .

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(BIN)/pytest -n 2 -m 'not slow' --hypothesis-profile=quick

test-all: lint
	$(BIN)/pytest -n 2

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
