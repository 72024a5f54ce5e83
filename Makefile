# Everything runs from a fresh clone with Python >= 3.11, make and pip: each target makes .venv first where it is missing.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

BENCHES := bench-backfill bench-dual-write bench-drift bench-state bench-locks bench-arrays bench-reads bench-sql-writers bench-capture bench-distant bench-hosts bench-capacity bench-hnsw

.PHONY: setup demo check test test-slow test-servers check-oldest format $(BENCHES) bench-many rules model chaos switches docs blocks clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sync needs Python 3.11 or newer; set PYTHON=…")'
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "$$($(PYTHON) -c 'import sys; print(sys.executable)') has no pip: deactivate an environment that has none, or set PYTHON=…"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv --without-pip .venv
	@echo "installing everything into .venv: a minute or two"
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check -e '.[local,dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/sync demo

# Each test is in one of the three: without servers, with servers, and what takes long by nature, which is marked `slow`.
check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --config-file tests/mypy.ini
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m "not slow" tests/unit

# By file, each process with servers of its own (2 GB); `make test PARALLEL=` runs all in one.
test: PARALLEL ?= -n 3 --dist loadfile --no-loadscope-reorder
test: $(STAMP)
	$(BIN)/pytest $(PARALLEL) -m "not slow and not servers" --ignore=tests/unit

test-slow: PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder
test-slow: $(STAMP)
	$(BIN)/pytest $(PARALLEL) -m "slow and not servers"

# The whole migration on every server of docs/servers.md; SYNC_TEST_KINDS=4.0 runs those whose name has this in it.
test-servers: $(STAMP)
	$(BIN)/pytest -n 0 -m servers tests/integration/test_servers.py tests/integration/test_cluster_faults.py \
	    tests/integration/test_cluster_ring.py tests/integration/test_cluster_data_centres.py \
	    tests/integration/test_commitlog_cluster.py
	SYNC_SQL_POSTGRES=15,17 $(BIN)/pytest -n 0 -m slow tests/integration/test_sql_writers.py

# The lowest version of every dependency that pyproject.toml allows, in an environment of their own. Settings of uv's that not all
# its versions know are stated as variables, which the others pass over.
OLDEST := .venv-oldest/bin
check-oldest: $(STAMP)
	@test -x $(OLDEST)/python || $(PYTHON) -m venv --without-pip .venv-oldest
	UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true $(BIN)/uv pip install --quiet --python $(OLDEST)/python --resolution lowest-direct -e '.[local,dev]'
	$(OLDEST)/pytest -q tests/unit --ignore=tests/unit/test_budget.py
	$(OLDEST)/pytest -q tests/integration/test_store_contract.py tests/integration/test_backfill_workers.py tests/integration/test_narrow_queue.py \
	    tests/integration/test_wheel.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Each is a program of its own, whose head says what it does; that of hosts needs root, for network namespaces.
$(BENCHES): bench-%: $(STAMP)
	$(BIN)/python -m benchmarks.$(subst -,_,$*)

bench-many: $(STAMP)
	$(BIN)/python -m benchmarks.many_tables

rules: $(STAMP)
	$(BIN)/python -m tests.rules.run

# Needs cargo, and no packages: https://rustup.rs
model:
	cargo build --release --quiet --manifest-path tests/model/Cargo.toml
	tests/model/target/release/model table

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos.run --trials 50
	$(BIN)/python -m tests.chaos.run_rooms --trials 50

switches: $(STAMP)
	$(BIN)/python -m tests.switches.run --switches 50

# The site, in .site/html. Links that lead nowhere end it.
docs: $(STAMP)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[docs]'
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_site.py
	$(BIN)/zensical build --strict --clean

# The printed blocks of README.md, the guide and the tutorial, from a run on servers of its own.
blocks: $(STAMP)
	$(BIN)/python docs/make_blocks.py

clean:
	-$(BIN)/sync local down
	rm -rf .venv .venv-oldest .local .local-demo .local-test* .local-bench .local-docs .site .cache tests/model/target
