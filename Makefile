# Everything from a fresh clone with Python >= 3.11 and make: `make help`.

# The first Python that is new enough; `make PYTHON=/path/to/python demo` takes another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$python; break; }; done)
# Arguments of pytest, for example `make test PYTEST="-x tests/test_metrics.py"`.
PYTEST ?= -n 2 --dist loadfile

# Set on some machines: each of the many programs that the tests start would compile all that it
# imports, for two to five seconds.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALLED := .venv/installed

.PHONY: help demo test test-all lint format

help:
	@echo "make demo    train on the embedded demo corpus and print the result table"
	@echo "make test    lint, check types, run the test suite"
	@echo "make test-all  the same with the tests that take long: before a change of what they test"
	@echo "make lint    ruff (lint and format) and pyright"
	@echo "make format  let ruff fix and format the code"
	@echo "Each sets up .venv first, once: the packages of requirements.lock, and msajax."

demo: $(INSTALLED)
	$(BIN)/python -m msajax.main --config configs/demo.py --workdir runs/demo

test: lint
	$(BIN)/python -m pytest $(PYTEST)

test-all: lint
	$(BIN)/python -m pytest $(PYTEST) -m ""

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/basedpyright

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Done again when the lock or the package's metadata change. Python compiles a module when it
# first imports it; to compile all of them takes longer than to install them.
$(INSTALLED): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "msajax needs Python 3.11 or newer; none is on the" \
		"PATH. Name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version): about a minute, once"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(PIP) install --no-compile --require-hashes -r requirements.lock
	$(PIP) install --no-deps --editable .
	@touch $@
