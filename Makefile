# Everything starts from an empty machine with Python 3.11+, make and a C library.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Each test process has PostgreSQL servers of its own. Three keep two cores busy: a fifth of the time a test waits.
JOBS   ?= 3
# Hundreds of processes start in a run: what one has compiled, the next shall find.
export PYTHONDONTWRITEBYTECODE :=
# Whatever pip is told elsewhere, it installs into the environment that it belongs to.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX
# What this shell is set to for other databases, applications and packages is not meant for this checkout.
unexport PYTHONPATH PYTHONHOME PYTHONSAFEPATH PYTHONOPTIMIZE PYTHONINSPECT PYTHONWARNINGS
unexport $(filter-out ST_TEST_%,$(filter PG% ST_%,$(.VARIABLES)))

.DEFAULT_GOAL := help

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{sub(/:.*/, "", $$1); printf "  make %-16s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Make .venv from the pinned requirements

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is missing: install Python 3.11 or newer, or name one: make setup PYTHON=...' >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("$(PYTHON) is Python %d.%d, and 3.11 or newer is needed: make setup PYTHON=python3.12" % sys.version_info[:2])'
	@case "$$(pwd)" in *[\"\$$\`\\:]*) echo "this folder's name has a character that Python's tools cannot take: \" \$$ \` \\ or :" >&2; exit 2;; esac
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

env:  ## Write .env and .secrets for a deployment, with generated secrets; add what an older .env lacks
	$(PYTHON) deploy/make_env.py

demo: setup  ## Move a live database under webhook traffic, there, back and there again (ARGS="--keep", "--json FILE")
	$(BIN)/python -m loadtests.demo $(ARGS)

test: setup  ## Run the test suite (ARGS go to pytest)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

modes: setup  ## Every suite in every dual-write mode, with either side as primary (ARGS go to pytest)
	ST_TEST_MODES=all $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --timeout 900 tests/core/modes tests/core/session \
		tests/core/outage tests/core/random tests/backend $(ARGS)

fault: setup  ## Faults and crashes at every named point
	$(BIN)/python -m pytest tests/core/copy tests/core/switch tests/core/crash $(ARGS)

race: setup  ## Races, each placed in its order by failpoints
	$(BIN)/python -m pytest tests/core/apply tests/core/copy $(ARGS)

property: setup  ## Random histories against a model
	$(BIN)/python -m pytest tests/core/random $(ARGS)

model: setup  ## Explore the protocol's model completely, broken variants included
	$(BIN)/python -m pytest tests/model $(ARGS)

ha: setup  ## Patroni, etcd and HAProxy: leaders die, freeze and hand over under webhooks (docs/ha.md says what it needs)
	@for program in patroni etcd haproxy pgbouncer; do \
		(PATH="$$PATH:/usr/sbin"; command -v $$program >/dev/null) || { echo "$$program is not installed: the end of docs/ha.md says how to get it" >&2; exit 2; }; done
	$(BIN)/python -m pytest tests/operator/deploy/ha tests/operator/deploy/test_failover.py -m "long or not long" -rs -s $(ARGS)

shards: setup  ## Rehearse the schema on two shards, and explain the application's statements there
	$(BIN)/python -m pytest tests/backend/api/hot/test_shards.py -m long $(ARGS)

image:  ## The steps of the Dockerfile in an empty folder, without a container engine, until the backend is ready
	$(PYTHON) deploy/rehearse.py

drill: setup  ## Back PostgreSQL up under webhooks, lose a table, restore the moment before (Debian: postgresql, pgbackrest)
	$(BIN)/python -m loadtests.run.drill $(ARGS)

lint: setup  ## ruff, mypy, and the lint for dialect traps on our own code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m migration lint backend migration

apps: setup  ## Real applications from PyPI, moved there and back, each in an environment of its own (downloads)
	$(BIN)/python -m pytest -m long tests/operator/apps $(ARGS)

docs: setup  ## Build the site of the documents in .site, with search (python3 -m http.server -d .site shows it)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

postgres: setup  ## A PostgreSQL server on 127.0.0.1:5433 for the tutorial, until Ctrl-C (PORT=5433)
	$(BIN)/python -m loadtests.stage.embedded $(PORT)

man: setup  ## Renew docs/st-migrate.1, the page for man, from the help texts
	$(BIN)/python -c "from importlib import metadata; from typer.main import get_command; \
		from migration.common.examples import manual; from migration.verbs.cli import app; \
		print(manual(get_command(app), metadata.version('st-migrate')), end='')" >docs/st-migrate.1

lock: setup  ## Renew requirements.lock from pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --upgrade pyproject.toml -o requirements.lock

oldest: ## The core tests on the oldest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip compile --quiet --resolution lowest-direct --all-extras pyproject.toml -o .venv-oldest/pins.txt
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python -r .venv-oldest/pins.txt
	.venv-oldest/bin/python -m pytest -q -n $(JOBS) --dist loadfile tests/core/session tests/core/apply tests/core/capture \
		tests/operator/anyapp/test_in_process.py $(ARGS)

bench: setup  ## Every figure of docs/performance.md, as ratios in one run (ARGS="--quick", "--only copy")
	$(BIN)/python -m loadtests.bench $(ARGS)

against-pgloader: setup  ## The same files moved by this tool and by pgloader: rows, objects, seconds (ARGS="--quick")
	$(BIN)/python -m loadtests.bench.against $(ARGS)

load: setup  ## Whole moves under every load profile, with verdict and reports (ARGS="--quick", "--profile market_open")
	$(BIN)/python -m loadtests.load $(ARGS)

ROWS ?= 1000000

native-trial: setup  ## The native branch on ROWS rows per large table under webhooks (ARGS="--json FILE")
	$(BIN)/python -m loadtests.bench.native --rows $(ROWS) $(ARGS)

burst: setup  ## All alerts of a bar within a second, in every mode (ARGS="--quick", "--before PATH", "--json FILE")
	$(BIN)/python -m loadtests.burst $(ARGS)

.PHONY: help setup env demo against-pgloader apps test modes fault race property model ha shards drill image lint docs postgres man lock oldest bench load burst native-trial

# Kills and histories in turn; each prints its seeds, and keeps its directory if it finds something.
HOURS ?= 1

soak: setup  ## Random kill -9 over full runs, then random histories, each for half of HOURS
	PYTHONPATH=backend:. $(BIN)/python -m tests.core.random.kills --hours $$($(BIN)/python -c "print($(HOURS) / 2)")
	PYTHONPATH=backend:. $(BIN)/python -m tests.core.random.history.run --hours $$($(BIN)/python -c "print($(HOURS) / 2)")

.PHONY: soak

# New seeds for MINUTES, or for HOURS; each is printed, and SEED plays one again.
MINUTES ?= 5

fuzz: setup  ## Random schemas, rows and writers through the whole move (HOURS=8, SEED=7)
	PYTHONPATH=backend:. $(BIN)/python -m tests.core.random.fuzz.run $(if $(SEED),--seed $(SEED)) \
		--minutes $(if $(filter command line environment,$(origin HOURS)),$$($(BIN)/python -c "print($(HOURS) * 60)"),$(MINUTES))

.PHONY: fuzz
