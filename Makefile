# Two commands for a newcomer: `make demo` (the main job) and `make test`. Each sets itself up.
PYTHON ?= python3.11
PYTHON := $(shell command -v $(PYTHON) || command -v python3)
VENV ?= .venv
DEMO_VENV ?= .venv-demo
PIP := -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check docs bench clean

demo: $(DEMO_VENV)/.ready  ## a private survival curve of the lung data: picture, table, claim, audit
	$(DEMO_VENV)/bin/sfumato survival lung --group sex --epsilon 2 --audit --out sfumato-demo

test: $(VENV)/.ready  ## the whole suite
	$(VENV)/bin/python -m pytest -n auto --dist worksteal

check: $(VENV)/.ready  ## lint, types, floors, docs
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet

docs: $(VENV)/.ready  ## the site, in site/
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

bench: $(VENV)/.ready  ## each speed claim beside its peer, in one run
	$(VENV)/bin/python -m pytest benchmarks -s

$(DEMO_VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python $(PIP) -e .
	@touch $@

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO_VENV) sfumato-demo site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
