# The commands of the project.
#
#   make setup      installs what the tests need and this machine does not have; with SETUP=check it only
#                   says what that is, and so do the other commands
#   make build      the emulator, the library and the Python module
#   make demo       starts the emulator, which installs the application and sends messages, to which a
#                   provider in Rust, C, Python and PHP reports receipts
#   make test       every test; `make test SUITES="core php"` for some, `make test ALL=1` for all again
#   make lint       formatting, lints, types, circles of modules, drift of what is generated
#   make bench      measures this library beside other clients; writes docs/benchmarks.md
#   make install    PREFIX=/usr/local DESTDIR= (C, C++ and the program), and make uninstall
#   make generate   generates the C header, what follows from the tables of options and errors, and the
#                   docstrings in Python's stub
#   make fmt        formats everything
#   make fuzz       every fuzz target, SECONDS=60 each
#   make schedules the keyed queue, the rate limit and renewal in 20,000 schedules of each kind
#   make tsan      scenarios and stress suite under ThreadSanitizer; PARTS="scenarios stress"
#   make test-free-threaded  the tests of Python in a free-threaded CPython
#   make soak       a million calls in one process, which must not grow
#   make wheels     the Python wheel and source distribution, tried in every CPython here
#   make sbom       the Rust dependencies as CycloneDX, dist/*.cdx.json
#   make audit      licences, bans, sources and advisories of all dependencies
#   make coverage   lines that the tests run, in coverage/
#   make dist       the files of a release, in dist/
#   make dist-all   those for every platform, too; says what of them was run and what was only built
#   make test-platform PLATFORM=linux-arm64   the scenarios with adapters of another platform
#   make clean      removes what the other commands made

SHELL := /bin/bash
# Everything but an installation is for this machine.
unexport CARGO_BUILD_TARGET
export CARGO_TARGET_DIR ?= $(CURDIR)/target
TARGET := $(CARGO_TARGET_DIR)
PYTHON := .venv/bin/python
TOOLS := $(TARGET)/tools
export PATH := $(CURDIR)/.venv/bin:$(TOOLS)/bin:$(PATH)
# Programs that one command needs; installed when it is first used.
DENY := $(TOOLS)/cargo-deny@0.20.2
CYCLONEDX := $(TOOLS)/cargo-cyclonedx@0.5.9
LLVM_COV := $(TOOLS)/cargo-llvm-cov@0.9.1

.PHONY: demo test build adapters setup lint fmt generate header install uninstall bench fuzz schedules tsan soak wheels sbom coverage dist dist-all \
    test-platform test-free-threaded audit clean help

demo: NEEDS = build
demo: build
	@cargo build --locked --quiet --example provider
	@$(PYTHON) tools/demo.py $(TARGET)

test: adapters
	@$(PYTHON) tests/suites.py --target $(TARGET) $(if $(ALL),--all) $(SUITES)

# Only what is missing, after saying what and why; with SETUP=check nothing is installed.
setup:
	@tools/setup $(NEEDS)

# What the demo and every test use. Cargo knows what is out of date. The emulator comes with
# its Python package; a build of it by Cargo itself would select other features of what it depends on.
build: setup
	@cd emulator && VIRTUAL_ENV=$(CURDIR)/.venv maturin develop --quiet --locked
	@$(MAKE) --no-print-directory -C bindings/c library
	@mkdir -p $(TARGET)/c/bin
	@$(CC) -std=c99 -Wall -Wextra -pedantic -Werror -Iinclude tools/demo.c -o $(TARGET)/c/bin/demo \
	    -L$(TARGET)/c/lib -Wl,-rpath,$(TARGET)/c/lib -lb24_messageservice
	@VIRTUAL_ENV=$(CURDIR)/.venv maturin develop --quiet --locked

# What the scenarios are played by, besides Python and PHP, and the program for a shell.
adapters: build
	@cargo build --locked --quiet -p b24-adapter -p b24-messageservice-cli
	@$(MAKE) --no-print-directory -C bindings/c adapter

lint: build
	@tools/lint

fmt: setup
	cargo fmt --all
	$(PYTHON) -m ruff format .

# `header` is its former name.
generate header: setup
	cargo run --quiet --locked --package b24-generate
	@VIRTUAL_ENV=$(CURDIR)/.venv maturin develop --quiet --locked
	$(PYTHON) bindings/python/docstrings.py

install uninstall:
	@$(MAKE) --no-print-directory -C bindings/c $@ $(addprefix CARGO_BUILD_TARGET=,$(CARGO_BUILD_TARGET))
	@$(MAKE) --no-print-directory -C cli $@ $(addprefix CARGO_BUILD_TARGET=,$(CARGO_BUILD_TARGET))

bench: NEEDS = bench
bench: build
	@benches/run

fuzz: build
	@fuzz/run $(or $(SECONDS),60)

# Not in `make test`: it takes much longer than all of it.
tsan: build
	@tests/tsan/run $(PARTS)

# PYTHON_FREE_THREADED is a free-threaded CPython of 3.14 or later, `python3.14t` otherwise.
test-free-threaded: build
	@bindings/python/free-threaded.sh

schedules:
	@B24_SCHEDULES=$(or $(SCHEDULES),20000) tests/schedules/run

soak: build
	@B24_SOAK_CALLS=1000000 tests/stress/run hundred_thousand_calls

wheels: build
	@bindings/python/wheels.sh

sbom: $(CYCLONEDX)
	@tools/sbom dist

coverage: build $(LLVM_COV)
	@tools/coverage

dist: build $(CYCLONEDX)
	@tools/dist

dist-all test-platform: NEEDS = platforms

dist-all: build $(CYCLONEDX)
	@tools/dist --all

test-platform: build
	@tools/platforms/test $(PLATFORM)

# The advisories come from GitHub. If it cannot be reached, the rest is still checked.
audit: $(DENY)
	@cargo deny --workspace check licenses bans sources
	@cargo deny --workspace check advisories || \
	    echo "audit: the advisories were not checked, or there are some: see above"

# Built in a directory of its own; the file says that this version is there.
$(TOOLS)/cargo-%:
	@echo "installing $(@F) with cargo"
	@env -u CARGO_TARGET_DIR cargo install --quiet --locked $(@F) --root $(TOOLS)
	@touch $@

clean:
	rm -rf target .venv dist build coverage

help:
	@sed -n '/^[^#]/q; /^#   /s/^#   //p' Makefile
