# Two commands do it all: `make serve` and `make test`. Everything lands in .venv; nothing is installed by hand.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
LOCKED := $(VENV)/.locked
STAMP := $(VENV)/.installed
ENGINE := $(VENV)/.engine

.PHONY: install engine serve test browser lint format types check-imports unit thorough quick audit bench lock clean screenshots

install: $(STAMP)

# files that are newer but say the same, as after a checkout, install nothing: the stamps hold what was installed
$(LOCKED): requirements.lock rules.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@cat $^ | cmp -s - $@ || { echo "Installing into $(VENV) (about a minute, once)" && \
		$(PIP) install --require-hashes -r requirements.lock && \
		$(PIP) install --no-deps --require-hashes -r rules.lock; }
	@cat $^ >$@

# of pyproject.toml what a package is made of, not how its code is tested and linted
$(STAMP): $(LOCKED) pyproject.toml
	@{ cat $(LOCKED) && sed '/^\[tool\.ruff\]/,$$d' pyproject.toml; } >$@.now
	@cmp -s $@.now $@ || { $(PIP) install --no-deps --no-build-isolation --editable . && \
		$(BIN)/python -m compileall -q farthing && \
		$(BIN)/farthing openapi >/dev/null; }  # is kept, so that nobody who opens /docs waits until it is made
	@mv $@.now $@

# ClickHouse as a module, for the tests of events that are stored in it; large, and nothing that serves needs it
engine: $(ENGINE)

$(ENGINE): $(STAMP) engine.lock
	@cmp -s engine.lock $@ || $(PIP) install --no-deps --require-hashes -r engine.lock
	@cp engine.lock $@

serve: install
	$(BIN)/farthing serve --demo $(ARGS)

test: install engine browser lint types check-imports unit

# the pages are tested in Debian's Chromium; where it is missing and cannot be installed, those tests say so and fail
browser:
	@test -x /usr/bin/chromium-headless-shell -o -x /usr/bin/chromium || { \
		echo "Installing Chromium for the tests of the pages"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium-headless-shell >/dev/null; }

screenshots: install browser
	$(BIN)/python -m tests.web.screenshots

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install
	$(BIN)/mypy

check-imports: install
	$(BIN)/lint-imports

# one worker more than the two cores that all is measured on: many tests wait, for locks, processes and the browser
unit: install engine
	$(BIN)/pytest -n 3 --dist worksteal $(ARGS)

# everything in every place, which the everyday run tries in some: an hour or more
thorough: install engine
	FARTHING_THOROUGH=1 $(BIN)/pytest -n 3 --dist worksteal $(ARGS)

# what needs neither database nor browser nor patience, with a part of the properties' examples: under a minute
quick: install
	FARTHING_QUICK=1 $(BIN)/pytest -n 2 --dist worksteal -m "not database and not browser and not slow" $(ARGS)

# known vulnerabilities of what the lock file pins; a service that cannot be reached fails nothing, a finding does
audit: install
	$(BIN)/python .ci/audit.py

bench: install
	$(BIN)/python -m benchmarks $(ARGS)

lock:
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install --quiet uv
	.venv-lock/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --quiet --output-file requirements.lock
	rm -rf .venv-lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
