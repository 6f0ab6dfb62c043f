# The two commands: `make demo` and `make test`. Each sets up .venv from the hash-pinned lock first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUNTIME := $(VENV)/.runtime
ARGS ?=
# One more than the cores of the machine that the suite is measured on: tests of whole stacks wait more than they work.
WORKERS ?= 3
# uv knows public certificate authorities only, unless told to trust those of the system, as pip and curl do: a
# company's own is among those. A bare container may have none.
ifndef UV_SYSTEM_CERTS
export UV_SYSTEM_CERTS := $(shell $(PYTHON) -c 'import os,ssl,sys; p=ssl.get_default_verify_paths(); print(str(bool(sys.platform!="linux" or p.cafile or (p.capath and os.listdir(p.capath)))).lower())')
endif

# A shell that keeps Python from writing bytecode would have every process of a stack compile its libraries anew, which
# makes each start nearly three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test test-quick test-bench faults coverage check lint types map docs wheel lock bench clean
help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# A demo needs what a server needs and no more; every other target installs the tools of development, too.
define install
	@$(PYTHON) -c 'import sys; v=sys.version_info[:2]; sys.exit(0 if (3,11)<=v<(3,14) else "Python 3.11-3.13 is needed, this is %d.%d: make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python $(1)
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
endef

$(READY): requirements.lock pyproject.toml
	$(call install,requirements.lock)
	@touch $(READY) $(RUNTIME)

$(RUNTIME): requirements-runtime.lock requirements-setup.lock pyproject.toml
	$(call install,requirements-runtime.lock requirements-setup.lock)
	@touch $(RUNTIME)

demo: $(if $(wildcard $(READY)),$(READY),$(RUNTIME)) ## the whole system on the public population; ARGS=--exit stops it at the end
	$(BIN)/churn demo $(ARGS)

test: $(READY) ## the whole test suite: real Postgres, MLflow, Dagster and HTTP
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadscope --no-loadscope-reorder $(COVERAGE) $(CHOSEN) $(ARGS)

test-quick: CHOSEN := -m "not services and not faults and not peers and not whole"
# None of these waits, and each worker more would import everything once more.
test-quick: WORKERS := 2
test-quick: test ## the part that starts no server but Postgres: while you work

watch: $(READY) ## run the tests of a folder again whenever a file changes: ARGS=tests/deliveries
	$(BIN)/ptw . --now --clear --runner $(BIN)/pytest $(ARGS)

test-whole: CHOSEN := -m whole
test-whole: test ## what plays whole histories, and takes minutes: before a release

faults: $(READY) ## the long form of the fault catalogue; it takes an hour or more
	$(BIN)/python -m pytest -m faults tests/whole/faults $(ARGS)

test-bench: CHOSEN := -m peers tests/bench
test-bench: test ## the tests of the bench that start its peers: after a change to bench/ or a library

coverage: COVERAGE := --cov --cov-report=term
coverage: test ## the same, with the lines that no test reached, slower

check: lint types ## lint, types, layers, definitions
	$(BIN)/lint-imports
	home=$$(mktemp -d) && DAGSTER_HOME=$$home $(BIN)/dagster definitions validate -m churn_assets.definitions; status=$$?; rm -rf $$home; exit $$status

lint: $(READY) ## ruff, both as linter and as formatter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

map: $(READY) ## write the drawing and the tables of docs/ anew, from the code
	$(BIN)/python -m docs.architecture
	$(BIN)/python -m docs.reference

docs: $(READY) ## the documentation as a site in .site/html, its reference made from the code, its links checked
	$(BIN)/python -m docs.site

wheel: $(READY) ## the wheel in dist/, which works outside a clone
	$(BIN)/python -m hatchling build -t wheel

bench: $(READY) ## every row beside its peers, one table; FULL=1 at full size
	$(BIN)/python -m bench $(if $(FULL),--full) $(ARGS)

COMPILE = $(BIN)/uv pip compile --universal --generate-hashes --no-annotate --no-header --quiet
lock: $(READY) ## resolve again and write the locks (hashes, no addresses)
	$(COMPILE) pyproject.toml --group dev --group bench --group base-population -o requirements.lock
	# Feast asks for SQLAlchemy's types, which bring mypy; nothing needs it to run.
	$(COMPILE) pyproject.toml -c requirements.lock --no-emit-package mypy -o requirements-runtime.lock
	$(COMPILE) --group setup --group base-population -c requirements.lock -o requirements-setup.lock

clean: ## remove the virtual environment (the state in .churn/ stays)
	rm -rf $(VENV)
