# make demo   the main job: .venv, data, search on Fashion-MNIST, a certified network and its report
# make test   everything that CI checks
#
# PYTHON=python3.12       another interpreter (3.11 or newer)
# TORCH_INDEX=https://…   an extra package index, e.g. PyTorch's own of CPU-only builds: far smaller on Linux

PYTHON ?= python3
TORCH_INDEX ?=
CONFIG ?= examples/fashion_mnist.toml
OUT ?= runs/demo

BIN := .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

.PHONY: help demo data test lint types layers pytest wheel
.DELETE_ON_ERROR:

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

demo: data
	@$(BIN)/hwnas run $(CONFIG) --out $(OUT); status=$$?; \
	  [ ! -f $(OUT)/report.html ] || echo "The report: file://$(abspath $(OUT))/report.html"; exit $$status

data: .venv/installed
	@echo "Fashion-MNIST: from Debian's package dataset-fashion-mnist if that is installed, else fetched once (31 MB)"
	@$(BIN)/python -c "from hwnas import tasks; tasks.open('fashion_mnist')"

test: lint types layers pytest wheel

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/installed-dev
	$(BIN)/mypy

layers: .venv/installed-dev
	$(BIN)/lint-imports

pytest: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

wheel: .venv/installed-dev
	rm -rf dist
	$(BIN)/python -m build --wheel
	$(BIN)/python .ci/check_wheel.py dist/*.whl

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "hwnas needs Python 3.11 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`; name another one: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[dev]'
	@touch $@ .venv/installed
