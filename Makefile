# The vocabulary of the project. `make demo` and `make test` install what is missing themselves.
#
#   make demo       a portal, and a status update to it from C, Python and PHP
#   make test       every test; `make test SUITES="core php"` for some, `make test ALL=1` for all again
#   make lint       formatting, lints, types, header and stub drift
#   make bench      this library beside what a user would pick instead; writes docs/benchmarks.md
#   make install    PREFIX=/usr/local DESTDIR= (C and C++), and make uninstall
#   make header     writes include/b24_messageservice.h anew
#   make fmt        formats everything
#   make coverage   lines that the tests run, in coverage/
#   make dist       what a release consists of, in dist/
#   make audit      licences and advisories of the dependencies (needs cargo-deny)

SHELL := /bin/bash
export CARGO_TARGET_DIR ?= $(CURDIR)/target
TARGET := $(CARGO_TARGET_DIR)
PYTHON := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo test build setup lint fmt header install uninstall bench coverage dist audit clean

demo: build
	@$(PYTHON) tests/demo.py $(TARGET)

test: build
	@$(PYTHON) tests/suites.py --target $(TARGET) $(if $(ALL),--all) $(SUITES)

setup:
	@tests/setup

# What tests in more than one language use. Cargo knows what is out of date.
build: setup
	@cargo build --locked --quiet -p b24-portal -p b24-adapter
	@$(MAKE) --no-print-directory -C bindings/c library adapter
	@mkdir -p $(TARGET)/c/bin
	@$(CC) -std=c99 -Wall -Wextra -pedantic -Werror -Iinclude tests/demo.c -o $(TARGET)/c/bin/demo \
	    -L$(TARGET)/c/lib -Wl,-rpath,$(TARGET)/c/lib -lb24_messageservice
	@VIRTUAL_ENV=$(CURDIR)/.venv maturin develop --quiet --locked

lint: build
	@tests/lint

fmt: setup
	cargo fmt --all
	$(PYTHON) -m ruff format .

header:
	bindings/c/generate-header.sh

install uninstall:
	@$(MAKE) --no-print-directory -C bindings/c $@

bench: build
	@benches/run

coverage: build
	@tests/coverage

dist: build
	@tests/dist

audit:
	cargo deny --workspace check

clean:
	rm -rf target .venv dist build coverage
