# make demo   the environment, the local stack, real work, the console
# make down   stops the demo's servers
# make bench  the measurements of docs/benchmarks.md
# make test   the environment, the checks and the tests: what .ci/run calls
# make quick  the checks, and the tests that need no server: between two edits
#
# Another Python than the first fitting one on PATH: make env PYTHON=/path/to/python3.12

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Test processes beside each other; most tests wait for servers, so that more of them than cores are busy.
WORKERS ?= 4

# A machine's own settings for other projects must not reach into this environment.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX
# What was compiled is kept: every test process would compile all tests anew.
unexport PYTHONDONTWRITEBYTECODE
# And nothing here may ever install into the machine's own Python.
export PIP_REQUIRE_VIRTUALENV := 1

.PHONY: env lint format quick test soak demo down bench bench-peers clean

env: $(STAMP)

# What is in $(VENV) is used only when it is a whole environment of its own: with half of one, pip
# would install into the machine's Python.
$(STAMP): pyproject.toml constraints.txt
	@set -e; found=; \
	fits='import sys; sys.exit(sys.version_info < (3, 11))'; \
	ours='import pip, sys; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)'; \
	if [ ! -x $(BIN)/python ] || ! $(BIN)/python -c "$$ours" 2>/dev/null; then \
		for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
			if command -v $$python >/dev/null 2>&1 && $$python -c "$$fits" 2>/dev/null; then found=$$python; break; fi; \
		done; \
		if [ -z "$$found" ]; then echo "make: no Python 3.11 or newer on PATH; say which: make env PYTHON=..." >&2; exit 1; fi; \
		echo "making $(VENV) with $$found"; \
		$$found -m venv --clear $(VENV); \
	fi; \
	echo "installing what pyproject.toml asks for, at the versions of constraints.txt"; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'; \
	touch $(STAMP)

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.lint_lua

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

quick: env lint
	$(BIN)/python -m pytest -m "not servers and not soak" -n 2 --dist worksteal

test: env lint
	$(BIN)/python -m pytest -m "not soak" -n $(WORKERS) --dist worksteal

soak: env
	$(BIN)/python -m pytest -m soak

demo: env
	@$(BIN)/joelclaw-tui demo

down: env
	@$(BIN)/joelclaw-tui --profile demo down

bench: env bench-peers
	$(BIN)/python -m bench.idle
	$(BIN)/python -m bench.queue
	$(BIN)/python -m bench.backlog

# The other queues, each in an environment of its own; the benchmark names those that could not be made.
bench-peers: env
	-$(BIN)/python -m bench.peers.environments

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
