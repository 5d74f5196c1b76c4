# `make demo` and `make test` set up .venv by themselves; `make help` lists everything.

PYTHON ?=
ARCHIVE ?=
OUT ?=
TESTS ?=
WORKERS ?= 2

python := .venv/bin/python
needed := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# One thread a process: Dask and pytest-xdist run several processes.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint format docs clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r name what; do \
	  printf '%-12s %s\n' "$$name" "$$what"; done
	@echo 'PYTHON=…     Python 3.11 or later that .venv is made with (default: the newest of 3.13, 3.12, 3.11 here)'

demo: .venv/.installed-plot ## Classify a simulated field, or real light curves: make demo ARCHIVE=path [OUT=folder]
	@$(python) -m dask scope demo $(if $(OUT),--out '$(OUT)') $(if $(ARCHIVE),--archive '$(ARCHIVE)')

test: lint ## Run ruff, mypy and the tests (TESTS=tests/periods for some of them, WORKERS=0 in one process)
	@echo 'Compiling the kernels (a minute when they changed, else a second)'
	@$(python) -m scope_dask.extraction.warm_up
	$(python) -m pytest -n $(WORKERS) --dist loadscope --max-worker-restart 2 $(TESTS)

lint: .venv/.installed-test ## Run ruff and mypy
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy

format: .venv/.installed-test ## Format the code
	$(python) -m ruff check --fix
	$(python) -m ruff format

docs: .venv/.installed-plot ## Write docs/features.md from the schema
	$(python) -m scope_dask.documentation docs/features.md

clean: ## Delete caches and build outputs (neither .venv nor results)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find scope_dask tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# An extra is installed again when pyproject.toml is newer than its stamp.
.venv/.installed-%: pyproject.toml | $(python)
	@echo 'Installing scope_dask with the extra "$*" into .venv (some minutes, once)'
	@$(python) -m pip install -qq --editable '.[$*]'
	@touch '$@'

$(python):
	@chosen=''; \
	for candidate in $(if $(PYTHON),'$(PYTHON)',python3.13 python3.12 python3.11 python3); do \
	  if "$$candidate" -c '$(needed)' >/dev/null 2>&1; then chosen="$$candidate"; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	  echo 'No Python 3.11 or later with venv found: install one (Debian: python3-venv), or name it with PYTHON=…' >&2; \
	  exit 2; \
	fi; \
	echo "Making .venv with $$chosen"; \
	"$$chosen" -m venv --clear .venv
