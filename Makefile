# The same commands here and in CI. `make` lists them. Each sets up .venv by itself; nothing but
# Python 3.11 or newer and make has to be there. Without make: CONTRIBUTING.md.

SHELL  := /bin/sh
VENV   := .venv
BIN    := $(VENV)/bin
STUDY  ?= quickstart
GRID   ?= bench_quick
ARGS   ?=
FUZZ   ?= 5000
# Tests run side by side, except those that measure time (mark `alone`). Each process takes a
# stretch of neighbouring tests, which share fixtures, and helps the others when it is through.
TESTS  ?= -n logical --maxprocesses 4 --dist worksteal
# What `make test-fast` leaves out. tests/kinds.py finds these marks in a test's own code.
SLOW   := nightly or alone or fault or process or database or browser or drawing or simulation

# A python that runs, is of a supported version and can make environments. A name on the path may
# be a shim that fails, so each is tried.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
		>/dev/null 2>&1 && { echo "$$python"; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help study throughput bench bench-sweep test test-fast nightly check lint format torture fuzz \
	audit lock wheel clean

help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

study: $(VENV)/.study  ## run a study: make study STUDY=quickstart ARGS="--workers 2"
	$(BIN)/python -m harness.study $(STUDY) $(ARGS)

throughput: $(VENV)/.study  ## time training steps over a grid: make throughput GRID=bench_quick ARGS="--device cpu"
	$(BIN)/python -m harness.bench $(GRID) $(ARGS)

# Without xdist: nothing runs beside what is timed.
bench: $(VENV)/.dev  ## time the same steps with pytest-benchmark: make bench ARGS=--benchmark-autosave
	$(BIN)/python -m pytest tests/benchmarks/test_training_step.py -k test_step --benchmark-enable $(ARGS)

# Alone on the machine; --only PROGRAM, --rounds 1 and --list tiny make it shorter.
bench-sweep: $(VENV)/.dev  ## race a fixed list of trials against Optuna and Ray Tune: make bench-sweep ARGS="--rounds 1"
	$(BIN)/python -m benchmarks.sweep_race $(ARGS)

test: lint  ## everything that CI checks: lint, format, types, tests
	$(BIN)/python -m pytest $(TESTS) $(ARGS)

check: test  ## the same

test-fast: $(VENV)/.dev  ## the tests that need no process, database, browser, report or simulation: under a minute
	$(BIN)/python -m pytest $(TESTS) -m "not ($(SLOW))" $(ARGS)

nightly: lint  ## every test, with all simulations and hostile files: what `make test` leaves out too
	HARNESS_NIGHTLY=1 $(BIN)/python -m pytest $(TESTS) $(ARGS)

lint: $(VENV)/.dev  ## lint, format and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## mend what the linter and the formatter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fuzz: $(VENV)/.dev  ## thousands of hostile input files: make fuzz FUZZ=20000
	HARNESS_NIGHTLY=1 HARNESS_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/fuzz $(ARGS)

audit: $(VENV)/.dev  ## known weaknesses of the versions in constraints.txt (asks the index of advisories)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --strict --disable-pip --no-deps --requirement constraints.txt

# torch names exact versions of its CUDA parts itself, and other ones in its other builds.
lock: $(VENV)/.dev  ## write constraints.txt anew; ARGS=--upgrade for the newest versions
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --all-extras \
		--strip-extras --no-annotate --no-header $(ARGS) --output-file constraints.txt pyproject.toml
	printf '%s\n' '# Exact versions, for all systems and Pythons: pip install -c constraints.txt -e .' \
		'# Made by `make lock`; do not edit.' > constraints.tmp
	grep -Ev '^(#|cuda-|nvidia-|triton)' constraints.txt >> constraints.tmp
	mv constraints.tmp constraints.txt

FAULTS := results/reference/reliability/faults.jsonl
KILLS  ?= 200
SIMULATED ?= 10000

# The record is replaced when every test has passed.
torture: $(VENV)/.dev  ## every test that injects faults or hostile input, with KILLS=200 kills and SIMULATED=10000 studies; writes docs/reliability.md
	@mkdir -p $(dir $(FAULTS)) && rm -f $(FAULTS).tmp
	HARNESS_NIGHTLY=1 HARNESS_FAULTS=$(abspath $(FAULTS)).tmp TORTURE_KILLS=$(KILLS) \
		SIMULATED_STUDIES=$(SIMULATED) \
		$(BIN)/python -m pytest -m fault -q $(ARGS)
	mv $(FAULTS).tmp $(FAULTS)
	$(BIN)/python -m tests.tally

wheel: $(VENV)/.dev  ## a wheel with the native kernels of this machine's family, in dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove the environment and the caches; results stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist

# A stamp says that the environment holds what pyproject.toml and constraints.txt ask for, and the
# library that is compiled from the C sources.
# What is there for the tests is enough for a study.
NATIVE := $(wildcard harness/cells/native/*.[ch]) harness/cells/native/build.py
$(VENV)/.study: EXTRAS :=
$(VENV)/.dev: EXTRAS := [dev,postgres,dashboard]
$(VENV)/.study $(VENV)/.dev: pyproject.toml constraints.txt hatch_build.py $(NATIVE)
	@$(BIN)/python -c '' 2>/dev/null || test -n '$(PYTHON)' || { \
		echo 'Python 3.11 to 3.14 with venv is needed and was not found (Debian, Ubuntu:' \
		'apt-get install python3-venv). Name one: make PYTHON=/path/to/python' >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.$(EXTRAS)'
	@touch $@ $(VENV)/.study
