# The commands of a checkout. Each sets up .venv first where requirements.lock has changed.

.PHONY: up test chaos fortnight check bench docs clean lock venv help
SHELL := /bin/sh
BIN := .venv/bin
ARGS ?=
# Compiled files are kept, whatever the shell says: without them each process compiles all of its modules at its start.
export PYTHONDONTWRITEBYTECODE :=

up: venv ## everything on this machine, in the foreground; Ctrl-C ends it
	@exec $(BIN)/tally up $(ARGS)

test: venv ## every test, in three processes with a Kafka and PostgreSQL each; ARGS goes to pytest
	@$(BIN)/python -m pytest -n auto $(ARGS)

chaos: venv ## the whole system hurt at random for ten minutes; ARGS="--chaos-minutes 30", CHAOS_SEED=… for the same faults again
	@$(BIN)/python -m pytest -q -s tests/chaos/test_whole_stack_at_random.py tests/chaos/test_reconciliation_at_random.py --chaos-minutes 10 $(ARGS)

fortnight: venv ## reconciliation of 5,000 orders at five PSPs with faults planted; FORTNIGHT_ORDERS=…, FORTNIGHT_SEED=… for others
	@FORTNIGHT_ORDERS=$${FORTNIGHT_ORDERS:-5000} $(BIN)/python -m pytest -q -n 0 --durations=5 tests/journey/test_fortnight.py $(ARGS)

check: venv ## what must hold before a commit: format, lint, types, imports, docs, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit tests/tidy

bench: venv ## the two benchmarks, on the running stack
	$(BIN)/tally bench ledger $(ARGS)
	$(BIN)/tally bench pay-in $(ARGS)

docs: venv ## write anew the pages that are made from code
	$(BIN)/python -m operations.pages.configuration > docs/configuration.md
	$(BIN)/python -m operations.cli.command_page
	$(BIN)/tally topics map
	$(BIN)/tally schemas write

clean: ## .venv and caches; data in .tally/ stays (`tally down --purge` deletes it)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build dist

# No lock file holds the address of an index.
lock: venv ## newest versions within pyproject.toml's bounds, Kafka's jars by operations/stack/jgo.toml
	echo '# Every Python package of the project and its tests, with hashes; made from pyproject.toml by `make lock`.' > requirements.lock.new
	printf 'setuptools>=77\npip>=24\nuv>=0.5\n' | $(BIN)/uv pip compile --quiet pyproject.toml - --extra dev --generate-hashes --universal \
	    --python-version 3.11 --no-emit-index-url --no-header --no-annotate --upgrade >> requirements.lock.new
	mv requirements.lock.new requirements.lock
	echo '# What the image runs, with hashes: requirements.lock without tests, tools and servers; made by `make lock`.' > deploy/runtime.lock.new
	$(BIN)/python deploy/runtime_dependencies.py | $(BIN)/uv pip compile --quiet - --constraint requirements.lock --generate-hashes --universal \
	    --python-version 3.11 --no-emit-index-url --no-header --no-annotate >> deploy/runtime.lock.new
	mv deploy/runtime.lock.new deploy/runtime.lock
	cd operations/stack && ../../$(BIN)/uv tool run --from 'jgo[cli]' jgo --resolver python -f jgo.toml lock
	@$(MAKE) --no-print-directory venv

venv: ## .venv with what requirements.lock names; every target does this first
	@sh deploy/venv.sh

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## /\1#/p' Makefile | awk -F '#' '{ printf "make %-6s %s\n", $$1, substr($$0, length($$1) + 2) }'
