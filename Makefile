# Every target creates .venv and installs what it needs, if that is not done yet.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAFEBENCH := $(BIN)/safebench
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml requirements-dev.txt constraints.txt $(wildcard plugins/*/pyproject.toml)

# Test files run side by side in so many processes.
WORKERS ?= 2

export OMP_NUM_THREADS ?= 1

.PHONY: run test quick check format docs wheels clean

run: $(INSTALLED)
	$(SAFEBENCH) run --classifier llamaguard --strategy marginal_any
	$(SAFEBENCH) run --classifier llamaguard --strategy greedy
	$(SAFEBENCH) leaderboard runs/llamaguard-starter

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

quick: $(INSTALLED)
	$(BIN)/python -m pytest -n 0 -m "not slow" $(ARGS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/cog --check README.md CONTRIBUTING.md docs/*.md plugins/*/README.md

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)
	$(BIN)/cog -r README.md CONTRIBUTING.md docs/*.md plugins/*/README.md

wheels: $(INSTALLED)
	for project in . plugins/*; do $(BIN)/python -m build --no-isolation --outdir dist $$project || exit 1; done

clean:
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache

$(INSTALLED): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -r requirements-dev.txt
	touch $@
