# What can be done here, and with which command?  `make` alone answers.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo dashboard docs test test-slow test-scale test-oracles check clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## pretrain and fine-tune a small BERT on the text that ships with Python: ten minutes, no network
	$(BIN)/python -m demo

dashboard: $(READY) ## show every run's curves over each other in a browser, while they train
	$(BIN)/python -m engine.dashboard runs

docs: $(READY) ## build the documentation as a site: runs/docs/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

test: $(READY) ## run the quick tests, on two cores
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-slow: $(READY) ## run every test, the slow ones too
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "slow or not slow"

test-scale: $(READY) ## install what preparing at scale needs (datatrove, ray), and test it: Ray, deduplication
	$(BIN)/python -m pip install --quiet --requirement requirements-scale.txt
	$(BIN)/python -m pytest -q tests/pretrain/test_prepare.py

test-oracles: $(READY) ## install what others compute the same with (lm-evaluation-harness), and compare
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-oracles.txt
	$(BIN)/python -m pytest -q tests/probe/test_few_shot_oracle.py

check: $(READY) ## lint, formatting, types, and which folder may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports

clean: ## remove caches and the set-up; runs/ stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted set-up is taken up again and a finished one is never repeated.
$(READY): requirements.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not that: install one, then say  make PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up .venv: once, a few minutes, most of them spent on downloading torch"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
