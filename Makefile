# Everything a newcomer and CI need; each target installs what it needs first.
#   make run     watch a simulated cluster being analysed
#   make test    the fast tests
#   make check   lint, types, layers, generated files
#   make e2e     with real Collectors and a real Slurm
#   make bench   speed, as ratios in one run
#   make healthy every rule over a day of 10,000 GPUs in good order: nothing is raised
#   make proto   regenerate from proto/
#   make schema  regenerate rules/cre.schema.json, for editors
#   make docs    list the components
#   make probes  compile the eBPF programs (clang, llvm, libbpf-dev); the others do so by themselves
#   make wheel   a wheel in dist/, with the eBPF programs
#   make docs    regenerate docs/receivers and docs/rules from what receivers and rules say of themselves
.DEFAULT_GOAL := help
.PHONY: help run test e2e check bench healthy proto schema docs probes wheel clean

PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
PROBES  := receivers/fallow_receivers/ebpf/probes
OBJECTS := $(PROBES)/calls.x86_64.bpf.o $(PROBES)/calls.aarch64.bpf.o $(patsubst %.c,%.o,$(filter-out %/calls.bpf.c,$(wildcard $(PROBES)/*.bpf.c)))
BPF_TOOLS := $(and $(shell command -v clang),$(shell command -v llvm-strip),$(wildcard /usr/include/bpf/bpf_helpers.h))
KERNELS := $(wildcard src/fallow/*/_*.py processors/fallow_processors/*/_*.py)

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Fallow needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]' --group dev
	@touch $@

$(VENV)/.installed-e2e: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group e2e
	@touch $@

# numba looks only at the file of a kernel, not at those of what it calls: a change to any of them empties the cache.
$(VENV)/.kernels: $(VENV)/.installed $(KERNELS)
	@find src processors -name '*.nb[ic]' -delete
	@touch $@

# Without clang the receiver has BCC and /proc; with it, an object that does not compile is an error.
probes: $(if $(BPF_TOOLS),$(OBJECTS))
	@$(if $(BPF_TOOLS),:,echo "The eBPF programs are not compiled: apt-get install clang llvm libbpf-dev.")

BPF_CC = clang -g -O2 -Wall -Werror -target bpf -I$(PROBES) $(addprefix -I,$(wildcard /usr/include/*-linux-gnu))
$(PROBES)/calls.x86_64.bpf.o: BPF_CC += -D__TARGET_ARCH_x86
$(PROBES)/calls.aarch64.bpf.o: BPF_CC += -D__TARGET_ARCH_arm64
$(PROBES)/calls.%.bpf.o: $(PROBES)/calls.bpf.c $(wildcard $(PROBES)/*.h)
	$(BPF_CC) -c $< -o $@.tmp && llvm-strip -g $@.tmp && mv $@.tmp $@
$(PROBES)/%.bpf.o: $(PROBES)/%.bpf.c $(wildcard $(PROBES)/*.h)
	$(BPF_CC) -c $< -o $@.tmp && llvm-strip -g $@.tmp && mv $@.tmp $@

run: $(VENV)/.kernels
	$(BIN)/fallow demo

test: $(VENV)/.installed probes
	$(BIN)/python -m pytest

# Building the Collector takes minutes where it is not cached: not within the time of a test.
# Building the Collector and fetching other releases of Slurm takes minutes where they are not cached: not within the
# time of a test.
e2e: $(VENV)/.installed-e2e probes
	$(BIN)/python tests/e2e/collector.py
	$(BIN)/python tests/e2e/slurm_releases.py
	$(BIN)/python -m pytest -m e2e tests/e2e

wheel: $(VENV)/.installed probes
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

bench: $(VENV)/.installed-e2e probes
	$(BIN)/python -m pytest -m bench -s tests/benchmarks --ignore tests/benchmarks/test_healthy.py

healthy: $(VENV)/.installed
	$(BIN)/python -m pytest -m bench -s tests/benchmarks/test_healthy.py

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/fallow rules check rules
	$(MAKE) proto schema docs
	@git diff --exit-code --stat -- src/fallow/recommend src/fallow/clock src/fallow/clients/podresources rules/cre.schema.json docs/receivers docs/rules || { echo "Generated files differ from their sources: commit what make proto schema docs wrote." >&2; exit 1; }

proto: $(VENV)/.installed
	cd proto && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=../src --pyi_out=../src --grpc_python_out=../src fallow/recommend/v1/recommend.proto fallow/clock/v1/clock.proto fallow/clients/podresources/podresources.proto

schema: $(VENV)/.installed
	$(BIN)/fallow rules schema > rules/cre.schema.json

docs: $(VENV)/.installed
	$(BIN)/python -m fallow.reference docs/receivers
	$(BIN)/python -m fallow.rulebook rules docs/rules

clean:
	rm -f $(PROBES)/*.bpf.o
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
