# make reproduce   the smoke reproduction, from nothing        make test   everything that CI runs
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
BENCH_VENV := .venv-bench
# digits train for seconds and compile for minutes, so fewer optimisations are the faster way. The lock file's jaxlib knows both flags; another might stop at them
QUICK_COMPILE := --xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 python3.12 python3.11 python3 python)

.PHONY: help reproduce test bench lock readme docs clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	@found=; for p in $(CANDIDATES); do \
	  if "$$p" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then found="$$p"; break; fi; done; \
	if [ -z "$$found" ]; then echo "nif_lit needs Python 3.11, 3.12 or 3.13 and found none (tried: $(CANDIDATES)); install one, or name it: make reproduce PYTHON=/path/to/python" >&2; exit 1; fi; \
	rm -rf $(VENV); "$$found" -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); echo "$$found cannot make a virtual environment: install its venv package (Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.runtime: $(BIN)/python requirements.lock pyproject.toml
	@echo "Installing (some minutes, once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.lock && $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e . && touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.lock
	@echo "Installing what the tests need ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.lock && touch $@

reproduce: $(VENV)/.runtime  ## train NF and NIF on digits and draw every figure (some minutes after installation)
	@XLA_FLAGS="$$XLA_FLAGS $(QUICK_COMPILE)" $(BIN)/nif_lit reproduce --scale smoke

test: $(VENV)/.dev  ## everything that CI runs
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

$(BENCH_VENV)/.ready: benchmarks/requirements.lock
	@found=; for p in $(if $(PYTHON),$(PYTHON),python3.11 $(CANDIDATES)); do \
	  if "$$p" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then found="$$p"; break; fi; done; \
	if [ -z "$$found" ]; then echo "make bench needs Python 3.11 (3.12 and 3.13 are untried) and found none; name it: make bench PYTHON=/path/to/python" >&2; exit 1; fi; \
	rm -rf $(BENCH_VENV); "$$found" -m venv $(BENCH_VENV)
	@echo "Installing the peers into $(BENCH_VENV) (some minutes, once) ..."
	@$(BENCH_VENV)/bin/python -m pip install -q --disable-pip-version-check $(PIP_OPTIONS) -r benchmarks/requirements.lock && touch $@

bench: $(BENCH_VENV)/.ready  ## speed and memory beside the peers, about 20 minutes on 2 quiet cores (BENCH="--help" for more)
	@$(BENCH_VENV)/bin/python -m benchmarks $(BENCH)

lock:  ## write the lock files anew (needs uv)
	@uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate pyproject.toml -o requirements.lock
	@uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-header --no-annotate --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

readme: $(VENV)/.dev  ## README.md from nbs/index.ipynb
	@$(BIN)/python scripts/readme.py

docs: $(VENV)/.dev  ## the pages, in _docs (needs Quarto)
	@PATH="$(CURDIR)/$(BIN):$$PATH" nbdev_docs

clean:  ## remove the environment and generated pages, keep runs
	@rm -rf $(VENV) $(BENCH_VENV) _docs _proc _preview build *.egg-info
