# One environment, .venv, serves both ways in: `make demo` (to see it work) and `make test` (to work on it).
# Both need Python >= 3.11 and a package index, and no GPU, no system FFmpeg and no rights beyond this folder.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(or $(wildcard $(BIN)/python),$(PYTHON))
PIP    := -m pip --disable-pip-version-check --no-input
DOCKER ?= docker
LOCKED := pyproject.toml constraints.txt $(wildcard locks/*.txt)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check lint docs licences format wheel wheel-check lock audit docker pin-base clean distclean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo '  PYTHON=python3.12 chooses the interpreter of a new .venv'

demo: $(VENV)/.core  ## Install into .venv and run the demonstration; pictures and intervals go to demo/
	$(BIN)/vadpipe demo --out demo

test: $(VENV)/.dev  ## Install into .venv with the developers' tools and run every check
	@$(MAKE) --no-print-directory check

check:  ## Format, lint, types and tests, in .venv or else in the active environment
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m pytest

lint:  ## Lint and types only
	$(PY) -m ruff check .
	$(PY) -m mypy

docs:  ## Rewrite docs/cli.md from the commands' help
	$(PY) docs/make_cli.py

licences: $(VENV)/.dev  ## Rewrite docs/licences.md from the metadata of the locked packages
	$(BIN)/python docs/make_licences.py

format:  ## Rewrite the sources the way `make check` wants them
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# A stamp is written when everything before it has worked. While pip is at work .venv/.installing stands: where it is
# found at the start, the last run was interrupted, pip's own records cannot be trusted, and .venv is emptied first
# (the marker goes last, with the folder's next success). A .venv that someone made by hand is used as it is.
# Every file that is downloaded has its digest in locks/, setuptools too, which comes first: it builds the package and the
# few sources among the dependencies, so that no build fetches anything of its own.
LOCAL := --no-index --no-deps --no-build-isolation
define pip_locked
$(1) $(PIP) install --quiet --require-hashes -r locks/build.txt; \
$(1) $(PIP) install --quiet --require-hashes --no-build-isolation -r locks/$(2).txt
endef

define install
@set -eu; \
if [ -e $(VENV)/.installing ] || ! $(BIN)/python $(PIP) --version >/dev/null 2>&1; then \
  command -v "$(PYTHON)" >/dev/null || { \
    echo 'make: there is no $(PYTHON) here; name another: make PYTHON=python3.12' >&2; exit 1; }; \
  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
    echo "make: $(PYTHON) is $$("$(PYTHON)" --version 2>&1 | head -n 1), expected Python 3.11 or newer;" \
      "name another: make PYTHON=python3.12" >&2; exit 1; }; \
  "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
    echo "make: $(PYTHON) cannot make virtual environments: it lacks venv or ensurepip" \
      "(on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
  mkdir -p $(VENV); : >$(VENV)/.installing; \
  find $(VENV) -mindepth 1 -maxdepth 1 ! -name .installing -exec rm -rf {} +; \
  "$(PYTHON)" -m venv $(VENV); \
fi; \
: >$(VENV)/.installing; \
echo 'Installing locks/$(1).txt into $(VENV): a first time takes some minutes and 6 GB (torch and its CUDA libraries) …'; \
$(call pip_locked,$(BIN)/python,$(1)); \
$(BIN)/python $(PIP) install --quiet $(LOCAL) -e .; \
rm $(VENV)/.installing
endef

$(VENV)/.core: $(LOCKED)
	$(call install,core)
	@touch $@

$(VENV)/.dev: $(LOCKED)
	$(call install,dev)
	@touch $(VENV)/.core $@

wheel: $(VENV)/.dev  ## Build dist/vadpipe-*.whl
	@rm -rf build dist  # a left-over build/ would put deleted modules into the wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

wheel-check: wheel  ## Install that wheel into a new, empty environment and start it (minutes)
	@set -eu; new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; \
	"$(PYTHON)" -m venv "$$new/venv"; \
	$(call pip_locked,"$$new/venv/bin/python",core); \
	"$$new/venv/bin/python" $(PIP) install --quiet $(LOCAL) dist/*.whl; \
	"$$new/venv/bin/python" $(PIP) check; \
	cd "$$new"; \
	for command in --version --help doctor; do echo "+ vadpipe $$command"; venv/bin/vadpipe $$command; done

# An environment with the tools of locks/supply.txt. SUPPLY=FOLDER names one that is there already.
define supply
new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; tools='$(SUPPLY)'; \
if [ -z "$$tools" ]; then \
  tools=$$new/venv; "$(PYTHON)" -m venv "$$tools"; \
  "$$tools/bin/python" $(PIP) install --quiet --require-hashes -r locks/supply.txt; \
fi
endef

# Versions stay as they are where they still fit. The torch family moves only by hand:
# docs/decisions/0002-dependencies.md.
lock:  ## Resolve constraints.txt and locks/; UPGRADE=all or UPGRADE='NAME NAME' takes newer versions
	@set -eu; $(supply); \
	"$$tools/bin/python" tools/lock.py $(if $(UPGRADE),--upgrade $(filter-out all,$(UPGRADE)))

audit:  ## Ask an advisory database about the locked packages; AUDIT='--service osv' asks another one
	@set -eu; $(supply); "$$tools/bin/python" tools/audit.py $(AUDIT)

docker:  ## Build the image vadpipe:latest (needs Docker and network access)
	$(DOCKER) build --tag vadpipe:latest .

pin-base:  ## Write the digest of the base image into the Dockerfile (needs Docker with buildx and network access)
	@set -eu; image=$$(sed -n 's/^FROM \([^@ ]*:[^@ ]*\).*/\1/p' Dockerfile); \
	digest=$$($(DOCKER) buildx imagetools inspect --format '{{.Manifest.Digest}}' "$$image"); \
	printf '%s' "$$digest" | grep -qx 'sha256:[0-9a-f]\{64\}' || { \
	  echo "make: $(DOCKER) gave no digest of $$image but: $$digest" >&2; exit 1; }; \
	sed -i "s|^FROM $$image[^ ]*|FROM $$image@$$digest|" Dockerfile; \
	echo "Dockerfile: $$image@$$digest"

clean:  ## Remove what the tools and builds left; keeps .venv, features and runs
	rm -rf build dist demo .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf $(VENV) vadpipe.egg-info
