# Everything from a fresh machine: `make demo` shows what it does, `make test` proves it.
#
# What is built is kept in VK_CACHE, outside the repository; several clones may share it. `make V=1` shows each command.

VK_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vk-runtime
CARGO_TARGET_DIR ?= $(VK_CACHE)/target
export VK_CACHE CARGO_TARGET_DIR

$(V).SILENT:
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup build demo try test check unit-tests e2e bench soak clean

help: ## Shows this.
	sed -n 's/^\([a-z0-9-]*\):.*## /  make \1	/p' Makefile | expand -t 20

setup: ## Installs what is missing: Debian packages, the target for components, the control plane's binary.
	tests/setup

build: setup ## Leaves target/release/vk-runtime and target/components/{mock,hyper}.wasm.
	tests/step 'vk-runtime' tests/build-runtime target/release
	tests/step 'components' providers-wasm/build target/components

demo: build ## A Deployment on a throw-away control plane and Podman, from apply to an empty engine. KEEP=1 leaves it up.
	KEEP=$(KEEP) tests/demo/demo

try: build ## A component of yours as a node, on a throw-away control plane: COMPONENT=FILE ARGS="--config …". KEEP=1 leaves it up.
	KEEP=$(KEEP) tests/demo/try $(COMPONENT) $(ARGS)

test: build ## Every test.
	tests/test

check: ## Format, lints, licences.
	tests/test check

unit-tests: build ## The tests of the crates.
	tests/test unit

e2e: build ## The tests on a real control plane and a real Podman.
	tests/test e2e

bench: build ## The benches; they print tables.
	tests/bench/bench

soak: build ## What is too long for every change.
	tests/soak

clean: ## Removes what `make build` left in the repository. The cache stays.
	rm -rf target
