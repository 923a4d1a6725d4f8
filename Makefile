# Works with whatever Python is active; name another with `make check PYTHON=.venv/bin/python`.
PYTHON ?= $(shell command -v python || command -v python3)

.PHONY: check static format format-check lint types imports test

check: static test  ## everything that a change must pass

static: format-check lint types imports  ## all of it but the tests

format:  ## rewrite the files as the checks want them
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

format-check:
	$(PYTHON) -m ruff format --check .

lint:
	$(PYTHON) -m ruff check .

# The root folders are one package without a folder of its own; the link gives mypy one.
types:
	mkdir -p build/view
	ln -sfn ../.. build/view/inktex
	$(PYTHON) -m mypy

imports:
	$(PYTHON) -c "from importlinter.cli import lint_imports_command as lint; lint()" --no-logo

test:
	$(PYTHON) -m pytest -n auto
