# What the README promises. Everything runs from the lock file in .venv; no system package is needed but Python and make.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do command -v $$p >/dev/null && \
  $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
UV_VERSION := 0.13.9
BIN := .venv/bin
STAMP := .venv/.installed
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never

.PHONY: demo test test-long check fix review clean

demo: $(STAMP)  ## bundles → DuckDB → checks → courses → report; prints where the report is
	$(BIN)/blina demo --to demo

test: $(STAMP)  ## all tests, a process for each core; what needs a browser skips with its reason when there is none
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-long: $(STAMP)  ## the tests that take minutes: kills, random histories, withdrawals, both databases, whole public sets
	$(BIN)/python -m pytest -m long

check: $(STAMP)  ## format, lint, types, import rules, mapping check, stale generated files; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m etl.mapping.checker
	$(BIN)/python -m etl.landing.describe --check
	$(BIN)/python -m etl.mapping.review --check
	$(BIN)/python -m etl.mapping.conformance --check
	$(BIN)/python -m sample_bundles.render --check
	$(BIN)/uv lock --check

fix: $(STAMP)  ## formats, mends what ruff can mend, renders what is generated
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m sample_bundles.render
	$(BIN)/python -m etl.landing.describe
	$(BIN)/python -m etl.mapping.review
	$(BIN)/python -m etl.mapping.conformance

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# uv itself comes from the package index, pinned, into the same environment.
$(STAMP): pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "blina needs Python 3.11, 3.12 or 3.13 with the venv module" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/uv --version 2>/dev/null | grep -q " $(UV_VERSION)" || { $(BIN)/python -m ensurepip >/dev/null; \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@$(BIN)/uv sync --locked --inexact --compile-bytecode --quiet --python $(BIN)/python
	@touch $@
