# In a fresh clone, `make bench` and `make test` install what they need into .venv and run.
# Nothing is installed again until pyproject.toml or constraints.txt changes.

PYTHON ?= python3
# added to the command that a target ends with: make bench ARGS='--backend numpy', make test ARGS='-k stats'
ARGS ?=
# tests at a time, each of which takes about a core: as many as there are cores, up to four; 0 runs them one after another
TEST_JOBS ?= logical

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# as pip does with what it installs elsewhere: where Python is told to write no bytecode, each of a run's processes would
# compile all of it again
COMPILE := $(BIN)/python -m compileall -q dlbench backends reports
MADE := $(VENV)/.made
BENCH_READY := $(VENV)/.bench-ready
TEST_READY := $(VENV)/.test-ready
# the environment, where there is one and nothing else is named
GPU_PYTHON = $(if $(filter file,$(origin PYTHON)),$(or $(wildcard $(BIN)/python),$(PYTHON)),$(PYTHON))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# two jobs at once would share one environment and disturb each other's timings
.NOTPARALLEL:
.PHONY: bench test check gate soak campaign benchmark gpu-check format clean help

bench: $(BENCH_READY) ## install dlbench with its CPU backends, run the suite cnn-mnist
	@$(BIN)/dlbench run --suite cnn-mnist $(ARGS)

# pytest comes last, so that its closing line is the end of the output
test: check ## lint, check types, run the tests
	@$(COMPILE)
	@$(BIN)/python -m pytest -n $(TEST_JOBS) --maxprocesses 4 --dist worksteal --benchmark-disable $(ARGS)

check: $(TEST_READY) ## lint and check types only
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: run 'make format'" >&2; exit 1; }
	@$(BIN)/mypy

gate: $(TEST_READY) ## has dlbench become slower than main, or than the commit before? (a minute)
	@PATH="$(CURDIR)/$(BIN):$$PATH" tools/gate_dlbench $(ARGS)

soak: $(TEST_READY) ## run the tests that take long or need the network, then the gate's campaign
	@DLBENCH_HYPOTHESIS=searching $(BIN)/python -m pytest -m soak $(ARGS)
	@$(MAKE) --no-print-directory campaign ARGS=

campaign: $(TEST_READY) ## prove the live gate on this machine; can be resumed (an hour)
	@$(BIN)/python tools/gate_campaign.py results/gate-campaign.jsonl $(ARGS)

benchmark: $(TEST_READY) ## run the benchmarks of dlbench itself
	@$(BIN)/python -m pytest -m benchmark $(ARGS)

# needs no network and makes no environment: PYTHON is whichever has the frameworks, WHEELS a folder with
# wheels of what it lacks, MINUTES the time that there is
gpu-check: ## on a machine with a GPU: its tests, the CPU against the GPU, one record
	@'$(GPU_PYTHON)' tools/gpu_check/bootstrap.py $(if $(WHEELS),--wheels '$(WHEELS)') \
	  $(if $(MINUTES),--minutes '$(MINUTES)') $(ARGS)

format: $(TEST_READY) ## format the code, mend what the linter can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

clean: ## remove the environment and everything built; records in results/ stay
	@rm -rf $(VENV) build dist *.egg-info .benchmarks .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find dlbench backends reports suites tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

$(MADE):
	@command -v '$(PYTHON)' >/dev/null || \
	  { echo "error: '$(PYTHON)' is not there: name a Python 3.11 or later with PYTHON=…" >&2; exit 1; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: dlbench needs Python 3.11 or later, and '$(PYTHON)' is $$('$(PYTHON)' -V 2>&1):" \
	    "name another with PYTHON=…" >&2; exit 1; }
	@'$(PYTHON)' -m venv --clear $(VENV)
	@touch $@

$(BENCH_READY): $(MADE) pyproject.toml constraints.txt
	@echo "installing dlbench with NumPy, PyTorch and TensorFlow into $(VENV) (once, some minutes)" >&2
	@$(PIP) install -c constraints.txt -e '.[torch,tensorflow,data,charts]'
	@$(COMPILE)
	@touch $@

$(TEST_READY): $(BENCH_READY)
	@echo "installing what the tests need into $(VENV) (once)" >&2
	@$(PIP) install -c constraints.txt -e '.[history,jax,keras,dev]'
	@touch $@
