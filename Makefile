# haipool: `make help` lists the targets. Python >= 3.11, make and git are all that `make demo` and `make test` need.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-builtin-rules

# The Python that makes the virtual environment; only its version matters.
PYTHON ?= python3
VENV ?= .venv
IMAGE ?= haipool:$(shell sed -n 's/^__version__.* = "\(.*\)"/\1/p' controller/__init__.py)
# More arguments for the command behind a target: make demo ARGS=--keep, make test ARGS='-k queue -x'
ARGS ?=
# Test processes side by side. The suite is written for two cores; much of it waits for processes rather than for a core.
TEST_WORKERS ?= 3

BIN := $(VENV)/bin
# kubectl from the virtual environment, so that its version is known.
KUBECTL ?= $(BIN)/kubectl
# Newer than what it installed from: nothing to do.
STAMP := $(VENV)/.installed

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(STAMP) ## See it work in under two minutes, on this machine alone (ARGS=--help: its options)
	@$(BIN)/haipool demo $(ARGS)

.PHONY: test
test: $(STAMP) ## Run the tests (ARGS goes to pytest; KUBEBUILDER_ASSETS=... for a real control plane)
	@$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile $(ARGS)

.PHONY: bench
bench: $(STAMP) ## Measure the dispatcher against a bare proxy and its bars (ARGS=--help: its options)
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: lint
lint: $(STAMP) ## Check format, style, types, layers, and that crds/ follows from the models
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache >$(VENV)/lint-imports.log || { cat $(VENV)/lint-imports.log; exit 1; }
	@$(BIN)/python -m controller.api.crd --check
	@echo "lint: clean"

.PHONY: format
format: $(STAMP) ## Put the code into its format and apply the safe fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: crds
crds: $(STAMP) ## Write crds/ anew from the models in controller/api
	@$(BIN)/python -m controller.api.crd

.PHONY: install
install: $(STAMP) ## Put haipool into the cluster that kubectl points at
	$(KUBECTL) apply -k manifests/base

# Without the operator nobody would destroy the servers, and they would go on costing money.
.PHONY: uninstall
uninstall: $(STAMP) ## Take haipool out of the cluster; refuses while pools or servers are left
	@left=$$($(KUBECTL) get gpupools.haipool.io,gpuinstances.haipool.io --all-namespaces --output name); \
	if [ -n "$$left" ]; then \
	  echo "make uninstall: these are left, and only the operator can destroy their servers:" >&2; \
	  echo "$$left" >&2; \
	  echo "Destroy them first: $(KUBECTL) delete gpupools.haipool.io --all --all-namespaces" >&2; exit 1; \
	fi
	$(KUBECTL) delete -k manifests/base

.PHONY: image
image: ## Build the container image (IMAGE=name:tag)
	docker build --tag $(IMAGE) .

.PHONY: constraints
constraints: ## Write constraints.txt anew with the newest versions that fit (Linux, Python 3.11)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "constraints are made with Python 3.11, the oldest that is supported; set PYTHON")'
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --upgrade pip
	build/constraints/bin/python -m pip install --quiet --editable '.[sandbox]' --group dev
	{ sed '/^[^#]/,$$d' constraints.txt; \
	  build/constraints/bin/python -m pip freeze --all --exclude-editable --exclude setuptools; } >build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/constraints

.PHONY: clean
clean: ## Remove everything that make made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .haipool
	find controller tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "haipool needs Python 3.11 or newer, and $(PYTHON) is %d.%d; try make PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing haipool and what it needs into $(VENV) (once; a minute or so)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[sandbox]' --group dev
	@touch $@
