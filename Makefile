# The course in one command. Every target makes or updates the environment first; that takes a
# fraction of a second when it already stands. On Windows, see the README for the two commands.
#
#   make lab LAB_ARGS=--no-browser      options for JupyterLab
#   make test TEST_ARGS="-k workspace"  options for pytest
#   make lab PYTHON=python3.12          the Python to make the environment with

# Paths are relative and stay so: a folder with a space in its path would break absolute ones.
BIN := .venv/bin
# Both the terminal in JupyterLab and programs started by tests find the environment's commands.
IN_VENV := PATH="$$PWD/$(BIN):$$PATH" VIRTUAL_ENV="$$PWD/.venv"
PYTHON ?=
LAB_ARGS ?=
TEST_ARGS ?=
BENCH_ARGS ?=

# A home that cannot be written to (a container's, a lab machine's) is replaced by a folder of ours.
export HOME := $(shell [ -w "$$HOME" ] && echo "$$HOME" || echo "$$PWD/.venv/home")

.DEFAULT_GOAL := help
.PHONY: help lab test test-chapter test-ray lint build bench lock clean set-up set-up-bench

help: ## Show this list
	@echo "make lab     Open JupyterLab at chapter 00"
	@echo "make test    Check the code, then run the tests and the solved notebooks;"
	@echo "             CREWLAB_TEST=whole make test runs everything, as CI does"
	@echo "make test-chapter CHAPTER=08"
	@echo "             Run the tests of one chapter's apps and of its check only"
	@echo "make test-ray"
	@echo "             Run the tests of Ray, in an environment that has it (.venv-bench)"
	@echo "make lint    Only check the code: ruff and mypy"
	@echo "make build   Build notebooks/ and solutions/ from chapters/"
	@echo "make bench   Measure the simulated deployment beside other pools"
	@echo "make lock    Renew the locks and environment.yml from pyproject.toml"
	@echo "make clean   Remove everything that was made here, environments included"

set-up:
	@PYTHON="$(PYTHON)" /bin/sh scripts/set_up.sh

# Its settings, the page it opens among them, are in jupyter_lab_config.py.
lab: set-up
	@$(IN_VENV) exec $(BIN)/jupyter-lab --config=jupyter_lab_config.py $(LAB_ARGS)

test: lint
	@$(IN_VENV) exec $(BIN)/python -m pytest -n 3 --dist loadfile $(TEST_ARGS)

test-chapter: set-up
	@test -f "tests/test_chapter_$(CHAPTER).py" || { \
		echo "make test-chapter: there are no tests of a chapter '$(CHAPTER)'."; \
		echo "They are found by the chapter's two digits, in tests/test_chapter_NN.py."; \
		echo "Name one, for example: make test-chapter CHAPTER=08"; exit 2; } >&2
	@$(IN_VENV) exec $(BIN)/python -m pytest -n 2 --dist worksteal \
		"tests/test_chapter_$(CHAPTER).py" $(TEST_ARGS)

lint: set-up
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/mypy --no-error-summary --strict scripts/set_up.py scripts/lock.py
	@cd template && ../$(BIN)/mypy --no-error-summary --config-file ../pyproject.toml service

build: set-up
	@$(IN_VENV) exec $(BIN)/crewlab build

set-up-bench:
	@PYTHON="$(PYTHON)" /bin/sh scripts/set_up.sh --into .venv-bench \
		requirements.lock requirements-bench.lock

test-ray: set-up-bench
	@PATH="$$PWD/.venv-bench/bin:$$PATH" exec .venv-bench/bin/python -m pytest \
		tests/test_engine_ray.py tests/test_fidelity.py -k ray $(TEST_ARGS)

bench: set-up-bench
	@PATH="$$PWD/.venv-bench/bin:$$PATH" exec .venv-bench/bin/python -m bench $(BENCH_ARGS)

lock: set-up
	@$(BIN)/python scripts/lock.py

clean:
	rm -rf .venv .venv-bench __pycache__ .pytest_cache .mypy_cache .ruff_cache artifacts build slides
	find lib tests bench scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
