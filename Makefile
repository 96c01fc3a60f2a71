# The whole workflow: `make` lists it. Needs Python 3.11 or newer and a package index, nothing else.

PYTHON  ?= python3
VENV    ?= .venv
LATEST  ?= .venv-latest
HOST    ?= 127.0.0.1
PORT    ?= 5000
WORKERS ?= 2
# Writes that wait at the same time share one wait for the disk, so many threads pay: with syncs of 4 ms 32 answer half
# as many requests again as 8. On a fast disk they cost nothing, because each worker stays on a processor of its own.
THREADS ?= 32
# The server of make serve: gunicorn, or granian.
SERVER  ?= gunicorn
POINTS  ?= 400
SECONDS ?= 60
ROUNDS  ?= 3
# Further flags: make serve GUNICORN_FLAGS='--timeout 60', make test PYTEST_FLAGS='-k webhook',
# make bench-peers PEERS_FLAGS='--server PocketBase --work create --delay 0'.
GUNICORN_FLAGS ?=
GRANIAN_FLAGS  ?=
PYTEST_FLAGS   ?=
PEERS_FLAGS    ?=
# make lock LOCK_FLAGS= keeps the locked versions and adds only what setup.cfg needs besides.
LOCK_FLAGS     ?= --upgrade

# Without bytecode each process compiles again what it imports, and the tests start hundreds of processes.
unexport PYTHONDONTWRITEBYTECODE

BIN     := $(VENV)/bin/python
INSTALL := $(BIN) -m pip install -qq --disable-pip-version-check --no-input
# The lock names every package, so pip has nothing to resolve. Python compiles the files that it uses when it uses them.
LOCKED  := $(INSTALL) --no-compile --no-deps --require-hashes
PACKAGE := $(INSTALL) --no-deps --no-build-isolation -e .
# --universal: one lock for each platform, and for each Python from 3.11.0 (Debian 12 has 3.11.2).
COMPILE := $(BIN) -m uv pip compile -q --universal --python-version 3.11.0 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' $(LOCK_FLAGS)
FLASK   := $(BIN) -m flask --app example_app
# What exists of the code; mypy and pyright refuse a folder that does not.
CODE    := $(wildcard flask_convex_http example_app tests benchmarks)
TYPED   := $(wildcard example_app tests/typing)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install lock run serve test test-long test-latest crash fuzz check format cover bench bench-peers docs

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/.installed-dev ## Make the environment for development

lock: $(VENV)/pyvenv.cfg ## Lock the newest versions of all dependencies in requirements/
	@$(INSTALL) --upgrade uv
	@$(COMPILE) setup.cfg requirements/build.in --extra dev -o requirements/dev.txt
	@$(COMPILE) setup.cfg requirements/build.in --extra webhooks --extra serve --extra granian -c requirements/dev.txt -o requirements/run.txt
	@$(COMPILE) setup.cfg requirements/build.in --extra fuzz -c requirements/dev.txt -o requirements/fuzz.txt

run: export EXAMPLE_DASHBOARD := on
run: $(VENV)/.installed-run ## Run the example app with Flask's own server and its dashboard (PORT=5000)
	@$(FLASK) convex migrate
	@$(FLASK) convex dashboard --url http://$(HOST):$(PORT)
	@exec $(FLASK) run --host $(HOST) --port $(PORT)

serve: $(VENV)/.installed-run ## Run the example app with gunicorn (PORT, WORKERS, THREADS), or SERVER=granian
	@$(FLASK) convex migrate
	@exec $(SERVE_$(SERVER))

SERVE_gunicorn = $(BIN) -m gunicorn -c python:flask_convex_http.gunicorn 'example_app:create_app()' \
	--bind $(HOST):$(PORT) --workers $(WORKERS) --threads $(THREADS) $(GUNICORN_FLAGS)
SERVE_granian = $(BIN) -m flask_convex_http.granian 'example_app:create_app()' \
	--host $(HOST) --port $(PORT) --workers $(WORKERS) --blocking-threads $(THREADS) $(GRANIAN_FLAGS)

test: $(VENV)/.installed-dev ## Run the tests
	@$(BIN) -m pytest -n auto --dist worksteal $(PYTEST_FLAGS)

test-long: $(VENV)/.installed-dev ## Run what `make test` leaves out, and its samples at length
	@$(BIN) -m pytest -n auto --dist worksteal --long $(PYTEST_FLAGS)

test-latest: ## Run the tests on the newest versions of the dependencies, in .venv-latest
	@rm -rf $(LATEST)
	@$(PYTHON) -m venv $(LATEST)
	@$(LATEST)/bin/python -m pip install -qq --disable-pip-version-check --no-input -e '.[dev]'
	@$(LATEST)/bin/python -m pytest -n auto --dist worksteal $(PYTEST_FLAGS)

crash: $(VENV)/.installed-dev ## Crash, kill and cut the power that many times (POINTS=400), and see that nothing is lost
	@CRASH_POINTS=$(POINTS) HISTORY_KILLS=$(POINTS) WORKER_KILLS=$(POINTS) WORKER_BACKLOG=100000 WEBHOOK_KILLS=$(POINTS) SERVER_KILLS=$(POINTS) \
		$(BIN) -m pytest -n auto --dist worksteal --long --timeout 0 tests/crash/test_power_cut.py tests/worker/test_kills.py \
		tests/worker/test_backlog.py tests/inbox/processes/test_kills.py \
		tests/inbox/processes/test_power_cut.py tests/engines/postgres/test_server_failures.py tests/history/test_kills.py \
		$(PYTEST_FLAGS)

fuzz: $(VENV)/.installed-dev ## Send hostile deliveries to every webhook provider for a while (SECONDS=60)
	@$(LOCKED) -r requirements/fuzz.txt
	@$(BIN) tests/fuzz/fuzz_webhooks.py -max_total_time=$(SECONDS)

check: $(VENV)/.installed-dev ## Lint, check the formatting, the spelling, the types and the import rules
	@echo '== ruff check' && $(BIN) -m ruff check .
	@echo '== ruff format' && $(BIN) -m ruff format --check .
	@echo '== codespell' && $(VENV)/bin/codespell $$(git ls-files '*.py' '*.md' '*.cfg' '*.html')
	@echo '== mypy' && $(BIN) -m mypy $(CODE)
	@echo '== pyright' && $(if $(TYPED),$(BIN) -m pyright --pythonpath $(BIN),echo 'no user-facing code yet')
	@echo '== import rules' && $(VENV)/bin/lint-imports --no-logo

format: $(VENV)/.installed-dev ## Format the code and fix what ruff can fix
	@$(BIN) -m ruff check --fix .
	@$(BIN) -m ruff format .

cover: $(VENV)/.installed-dev ## Run the tests and show the lines they miss
	@$(BIN) -m pytest -n auto --dist worksteal --cov --cov-report=term-missing:skip-covered $(PYTEST_FLAGS)

bench: $(VENV)/.installed-dev ## Run the benchmarks
	@$(BIN) -m benchmarks

# SECONDS has a default for another target, so only a given one counts.
bench-peers: $(VENV)/.installed-dev ## Compare with PocketBase, FastAPI, Starlette, Fastify (ROUNDS=3 SECONDS=4)
	@$(BIN) -m benchmarks.peers --rounds $(ROUNDS) $(if $(filter-out file,$(origin SECONDS)),--seconds $(SECONDS)) $(PEERS_FLAGS)

docs: $(VENV)/.installed-dev ## Build the documentation in docs/_build
	@$(BIN) -m sphinx -W --keep-going -n -q docs docs/_build
	@echo 'file://$(CURDIR)/docs/_build/index.html'

# A stamp file says what was installed and when: again only after the lock or setup.cfg changed, or for a further extra.

$(VENV)/pyvenv.cfg:
	@command -v $(PYTHON) >/dev/null || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3'; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, this is $$($(PYTHON) -V): make PYTHON=/path/to/python3"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.installed-run: requirements/run.txt setup.cfg pyproject.toml $(VENV)/pyvenv.cfg
	@echo 'Installing the package and what runs it'
	@$(LOCKED) -r requirements/run.txt
	@$(PACKAGE)
	@touch $@

$(VENV)/.installed-dev: requirements/dev.txt setup.cfg pyproject.toml $(VENV)/pyvenv.cfg
	@echo 'Installing the package and what checks it'
	@$(LOCKED) -r requirements/dev.txt
	@$(PACKAGE)
	@touch $(VENV)/.installed-run $@
