# One environment, .venv, serves both ways in: `make demo` (to see it work) and `make test` (to work on it).
# Both need Python >= 3.11 and a package index, and no GPU, no system FFmpeg and no rights beyond this folder.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(or $(wildcard $(BIN)/python),$(PYTHON))
PIP    := -m pip --disable-pip-version-check --no-input
EXTRAS := dev,audio,decord,ray,tensorboard,torchcodec,video3d
LOCKED := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check lint docs format wheel wheel-check lock docker clean distclean

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

format:  ## Rewrite the sources the way `make check` wants them
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# A stamp is written when everything before it has worked. While pip is at work .venv/.installing stands: where it is
# found at the start, the last run was interrupted, pip's own records cannot be trusted, and .venv is emptied first
# (the marker goes last, with the folder's next success). A .venv that someone made by hand is used as it is.
# setuptools comes before the package, so that the build too uses the locked version.
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
echo 'Installing $(1) into $(VENV): a first time takes some minutes and 6 GB (torch and its CUDA libraries) …'; \
$(BIN)/python $(PIP) install --quiet -c constraints.txt setuptools; \
$(BIN)/python $(PIP) install --quiet -c constraints.txt --no-build-isolation -e '$(1)'; \
rm $(VENV)/.installing
endef

$(VENV)/.core: $(LOCKED)
	$(call install,.)
	@touch $@

$(VENV)/.dev: $(LOCKED)
	$(call install,.[dev])
	@touch $(VENV)/.core $@

wheel: $(VENV)/.dev  ## Build dist/vadpipe-*.whl
	@rm -rf build dist  # a left-over build/ would put deleted modules into the wheel
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

wheel-check: wheel  ## Install that wheel into a new, empty environment and start it (minutes)
	@set -eu; new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; \
	"$(PYTHON)" -m venv "$$new/venv"; \
	"$$new/venv/bin/python" $(PIP) install --quiet -c constraints.txt dist/*.whl; \
	cd "$$new"; \
	for command in --version --help doctor; do echo "+ vadpipe $$command"; venv/bin/vadpipe $$command; done

# Resolves, installs nothing. On the oldest Python of pyproject.toml, whose versions newer ones can use as well.
# The torch family moves only by hand: docs/decisions/0002-dependencies.md.
lock:  ## Resolve all extras anew into constraints.txt (with the oldest supported PYTHON)
	@set -eu; new=$$(mktemp -d); trap 'rm -rf "$$new"' EXIT; \
	"$(PYTHON)" -m venv "$$new/venv"; \
	"$$new/venv/bin/python" $(PIP) install --quiet --dry-run --ignore-installed --report "$$new/report.json" \
	  torch==2.11.0 torchvision==0.26.0 '.[$(EXTRAS)]'; \
	sed -n '/^#/p' constraints.txt >"$$new/lock"; \
	"$$new/venv/bin/python" -c 'import json, re, sys; \
	  rows = [item["metadata"] for item in json.load(sys.stdin)["install"] if not item.get("is_direct")]; \
	  print(*sorted(re.sub("[-_.]+", "-", row["name"]).lower() + "==" + row["version"] for row in rows), sep="\n")' \
	  <"$$new/report.json" >>"$$new/lock"; \
	cp "$$new/lock" constraints.txt

docker:  ## Build the image vadpipe:latest (needs Docker and network access)
	docker build --tag vadpipe:latest .

clean:  ## Remove what the tools and builds left; keeps .venv, features and runs
	rm -rf build dist demo .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf $(VENV) vadpipe.egg-info
