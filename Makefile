# The one way to build, check, test and show twoway; .ci/run and CONTRIBUTING.md call these targets.
#
# Needs Python 3.11 or later, a Rust toolchain with cargo in PATH, gcc, and the package registries. Everything else goes
# into .venv and build/; the system's Python is only used to make .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := $(CURDIR)/.venv
export VIRTUAL_ENV := $(VENV)
# One interpreter for all builds of PyO3, so that they share its artefacts; the toolchain's usual place comes last.
export PYO3_PYTHON := $(VENV)/bin/python
export PATH := $(VENV)/bin:$(PATH):$(HOME)/.cargo/bin

TOOLS := .venv/.tools
EXTENSION := .venv/.extension
RUST := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)
PARTS := $(PYTHON) .ci/parts.py
FUZZ_SECONDS ?= 30

.PHONY: all build fmt lint check test demo netns fuzz bench soak docs clean help

all: fmt build lint check  ## format, build, lint and test: the developer's loop

build: $(EXTENSION)  ## make .venv and build the extension module into it

$(TOOLS): pyproject.toml .ci/prepare
	@PYTHON='$(PYTHON)' .ci/prepare
	@touch $@

$(EXTENSION): $(TOOLS) $(RUST) pyproject.toml
	@echo "building the extension module"
	@PIP_QUIET=1 maturin develop --release --quiet
	@touch $@

fmt: $(TOOLS)  ## format Python and Rust
	ruff check --quiet --fix-only .
	ruff format --quiet .
	@if cargo fmt --version >/dev/null 2>&1; then cargo fmt --all && cargo fmt --manifest-path fuzz/Cargo.toml; \
	else echo 'cargo fmt is missing, Rust was not formatted: rustup component add rustfmt'; fi

lint: build  ## every lint gate, types and generated documents; all run, then a line for each
	@$(PARTS) lint

check: build  ## cargo test and pytest, without the tests that need namespaces
	@$(PARTS) check

test:  ## everything: Debian packages where root, build, lint, all tests, short fuzz, short benchmarks
	@$(PARTS) test

demo: build  ## start a Session-Reflector, measure it with STAMP and TWAMP Light, show the reports
	@examples/demo.sh

netns: build  ## the tests over real network namespaces (needs root)
	pytest tests/netns

fuzz:  ## fuzz every parser for FUZZ_SECONDS seconds each (default 30)
	fuzz/run $(FUZZ_SECONDS)

bench: build  ## all benchmarks; writes the figures of docs/performance.md
	python benchmarks/run.py

soak: build  ## the daemon for ten minutes: peers that come and go, reloads, memory; writes its figures, too
	python benchmarks/soak.py --write

docs: build  ## write the generated parts of the documents
	python docs/generate.py

clean:  ## remove what was built, .venv too
	rm -rf build target fuzz/target fuzz/corpus fuzz/artifacts .venv .mypy_cache .ruff_cache .pytest_cache \
	    .import_linter_cache .hypothesis src/twoway/_native*.so

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 10
