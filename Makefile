# Skep's tasks. `make up` and `make test` are all that most people need; `make help` lists the rest.

PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
VENV ?= .venv
PYTEST = $(VENV)/bin/python -m pytest
# Tests of one file stay on one core: they share what their fixtures started.
CORES ?= auto
# For make simulate.
SEEDS ?= 0:1000
JOBS ?= 2
# A suite that has no tests (pytest's exit 5) has not failed.
OR_EMPTY = || [ $$? -eq 5 ]
BUILT = src/skep/frontends/web/built
PAGE_SOURCES = $(shell find web/src web/public web/build -type f) web/index.html web/vite.config.ts web/svelte.config.js web/tsconfig.json web/package.json
HAS_NODE = command -v npm >/dev/null && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)' 2>/dev/null
PIP = $(VENV)/bin/python -m pip --quiet --disable-pip-version-check
COMPILE = env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL CUSTOM_COMPILE_COMMAND="make lock" \
	$(VENV)/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-config \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.PHONY: help up page wheel parts test test-again check test-crash test-long simulate bench docs screenshots fmt lock clean

help:  ## list the tasks
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

up: $(VENV)/.server page-if-node  ## install Skep here and start a hive; safe to run again
	@$(VENV)/bin/skep up

page: $(BUILT)/size.json  ## build the page that / shows; needs Node 20.19 or newer with npm

# Without Node a hive starts all the same, and / says how to get the page.
.PHONY: page-if-node
page-if-node:
	@if $(HAS_NODE); then $(MAKE) --no-print-directory page; \
	elif [ ! -e $(BUILT)/size.json ]; then echo "no Node 20.19 or newer with npm here: the hive starts without its page (make page builds it)"; fi

$(BUILT)/size.json: $(PAGE_SOURCES) web/node_modules/.package-lock.json
	@echo "the page: web/"
	@cd web && npm run --silent build

web/node_modules/.package-lock.json: web/package-lock.json
	@$(HAS_NODE) || { echo "The page needs Node 20.19 or newer with npm: install them, then make page."; exit 1; }
	@cd web && npm ci --silent --no-audit --no-fund
	@touch $@

test: $(VENV)/.dev page-if-node  ## everything that this machine can run, except the suites that take many minutes
	$(PYTEST) -n $(CORES) --dist loadfile -m "not crash and not long" --durations=25 --durations-min=5

test-again: $(VENV)/.dev  ## what failed in the last run of the tests, one after another
	$(PYTEST) --last-failed --last-failed-no-failures none -v

parts: .parts/.done  ## programs that tests and benchmarks talk to (S3 and WebDAV peers), in an environment of their own

check: $(VENV)/.dev  ## lint, format, types, import contract, house rules, documents that match the code
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-cache
	$(PYTEST) -q tests/docs tests/house
	@if $(HAS_NODE); then $(MAKE) --no-print-directory check-page; else echo "no Node 20.19 or newer with npm here: the page is not checked"; fi

.PHONY: check-page
check-page: web/node_modules/.package-lock.json
	@cd web && npm run --silent check
	@cd web && npm run --silent test

test-crash: $(VENV)/.dev  ## real hives killed with -9 at random moments
	$(PYTEST) -o faulthandler_timeout=2400 -m crash $(OR_EMPTY)

test-long: $(VENV)/.dev page-if-node  ## thousands of histories, gigabytes of data
	HYPOTHESIS_PROFILE=long $(PYTEST) -n $(CORES) --dist loadfile -o faulthandler_timeout=2400 -m "long and not crash" $(OR_EMPTY)
	SKEP_HISTORIES=3000 $(PYTEST) -o faulthandler_timeout=2400 tests/property/durability

simulate: $(VENV)/.dev  ## whole hives in simulated bad luck: SEEDS=FIRST:END (0:1000000 is a day or so)
	$(VENV)/bin/python -m skep.testing.simulation --seeds $(SEEDS) --jobs $(JOBS)

bench: $(VENV)/.dev  ## measure against restic, rclone, dd and cat where they are installed
	$(VENV)/bin/python -m bench

docs: $(VENV)/.dev  ## write the reference pages from the code
	$(VENV)/bin/python docs/reference.py

screenshots: $(VENV)/.dev page  ## take the README's pictures of the page anew; needs chromium
	$(VENV)/bin/python docs/screenshots.py

fmt: $(VENV)/.dev  ## format the code and fix what can be fixed
	$(VENV)/bin/ruff check --fix --quiet .
	$(VENV)/bin/ruff format .

wheel: $(VENV)/.server page  ## a wheel with the page in it, in dist/
	@$(VENV)/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .

lock: $(VENV)/.dev  ## choose and pin the newest dependencies anew
	$(COMPILE) --upgrade --extra server pyproject.toml requirements/build.in -o requirements/server.txt
	$(COMPILE) --upgrade requirements/parts.in -o requirements/parts.txt
	$(COMPILE) --upgrade --all-extras -c requirements/server.txt pyproject.toml requirements/build.in -o requirements/dev.txt

clean:  ## remove what make installed and what tools cached; a hive's data stays
	rm -rf $(VENV) .parts web/node_modules $(BUILT) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Skep needs Python 3.11 or newer: install it, or name it with make PYTHON=..."; exit 1; }
	@echo "[1/3] environment: $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV); \
		$(PYTHON) -m pip --quiet --disable-pip-version-check --python $(VENV)/bin/python install pip; }

$(VENV)/.server: requirements/server.txt pyproject.toml | $(VENV)/bin/python
	@echo "[2/3] libraries: requirements/server.txt"
	@$(PIP) install --require-hashes -r requirements/server.txt
	@echo "[3/3] skep"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(VENV)/bin/python
	@echo "[2/3] libraries: requirements/dev.txt"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@echo "[3/3] skep"
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.server

.parts/.done: requirements/parts.txt | $(VENV)/bin/python
	@echo "programs for the tests: requirements/parts.txt"
	@test -x .parts/bin/python || $(VENV)/bin/python -m venv .parts
	@.parts/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements/parts.txt
	@if command -v npm >/dev/null; then npm ci --silent --no-audit --no-fund --prefix tests/conformance/tus/node; fi
	@touch $@
