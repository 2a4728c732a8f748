# Each target is one command on a fresh Debian 12 machine: it does the set-up that it needs itself.
#   make demo KEEP=1              leaves the demo's site running
#   make test PYTEST_ARGS="-k xl" passes arguments to pytest
SHELL := /bin/bash
.DEFAULT_GOAL := help

BIN := .venv/bin
# Tests of whole sites wait more than they compute, and come first: so three workers on two cores, in the folders' order.
WORKERS ?= 3
PYTEST_ARGS ?=
# Each of these has a lab of its own, which waits more than it computes.
LAB_WORKERS ?= 2
SOAK ?=
LINTED := $(wildcard xsm tests tools)

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## install what is missing (apt as root, then .venv from requirements.lock); quick when all is there
	@tools/setup.sh

demo: setup ## a site of four hosts on this machine, by itself, under a minute; KEEP=1 leaves it running
	@$(BIN)/xsm demo $(if $(KEEP),--keep)

test: setup ## all tests, six minutes on two cores; PYTEST_ARGS="..." for pytest
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

sim: setup ## lives of whole sites by chance: a fixed set of seeds, and those that ever failed (under two minutes)
	@nice $(BIN)/python -m tests.sim.soak --fixed

soak: setup ## the same with new seeds until Ctrl-C, in all processors; SOAK="--from 1 --seeds 1000" for more
	@nice $(BIN)/python -m tests.sim.soak $(SOAK)

exhaustive: setup ## every state that small sites' claims can reach, and what each part of the rule is for (~15 min)
	@nice $(BIN)/python -m tests.sim.test_exhaustive
	@nice $(BIN)/python -m tests.sim.test_exhaustive_members

lab-setup: setup
	@tests/lab/setup.sh

lab: lab-setup ## real QEMU guests on four hosts in namespaces of this machine, from nothing and gone afterwards (root, ~14 min); LAB=FILE for one
	@XSM_LAB_RUN=1 $(BIN)/pytest -n $(LAB_WORKERS) --dist loadfile --no-loadscope-reorder -v -p no:cacheprovider -o faulthandler_timeout=600 $(or $(LAB),tests/lab) $(PYTEST_ARGS)

lab-up: lab-setup ## the same hosts for working by hand: .venv/bin/python -m tests.lab shell dmz01
	@$(BIN)/python -m tests.lab up

lab-bench: lab-setup ## create, migrate, remove real guests through XSM beside plain virsh (root, ~4 min); DOCS=1 keeps the table in docs/
	@$(BIN)/python -m tests.lab.bench $(if $(DOCS),--docs)

lab-xen-setup: setup
	@tests/labxen/setup.sh

lab-xen: lab-xen-setup ## two real Xen hosts, emulated whole, with PV and PVH guests (root; first steps: docs/hypervisors.md)
	@XSM_LAB_XEN_RUN=1 $(BIN)/pytest -v -p no:cacheprovider -o faulthandler_timeout=1200 $(or $(LAB),tests/labxen) $(PYTEST_ARGS)

lab-xen-up: lab-xen-setup ## the same hosts for working by hand: .venv/bin/python -m tests.labxen shell xen01; `down` ends them
	@$(BIN)/python -m tests.labxen up

lab-down: setup ## end the lab, also what a killed one left
	@$(BIN)/python -m tests.lab down

bench: setup ## figures: speed, memory, idle CPU (~10 min; a quiet machine); BENCH=NAME runs one, DOCS=1 keeps them in docs/
	@$(BIN)/python -m tests.bench $(BENCH) $(if $(DOCS),--docs)

attack: setup ## tests/attack in their long form: 10,000 garbage requests to every route, every crash (hours)
	@XSM_ATTACK=10000 nice $(BIN)/pytest -s -o faulthandler_timeout=7200 tests/attack tests/unit/edge/test_journal_mark.py $(PYTEST_ARGS)

lint: setup ## ruff, mypy, schemas up to date, shell scripts, no registry's host named
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)
	$(BIN)/mypy xsm
	$(BIN)/python tools/check_no_registry_hosts.py
	$(BIN)/python tools/make_docs.py --check
	$(BIN)/python tools/make_schemas.py --check
	@if command -v shellcheck >/dev/null; then set -x; shellcheck -x .ci/run tools/*.sh tests/lab/*.sh tests/labxen/*.sh; fi

format: setup ## let ruff put the layout right
	$(BIN)/ruff check --fix $(LINTED)
	$(BIN)/ruff format $(LINTED)

install: setup ## install on this host for systemd: /opt/xsm, xsm and xsmd in /usr/local/bin (root)
	@tools/install.sh

docs: setup ## make what is made from the code: the docs' tables, docs/cli.md, the schemas
	$(BIN)/python tools/make_docs.py
	$(BIN)/python -m xsm.cli.reference > docs/cli.md
	$(BIN)/python tools/make_schemas.py

lock: setup ## make requirements.lock anew from pyproject.toml (keeps the pins that still fit)
	@tools/lock.sh

check-fresh: ## prove on a bare Debian 12 in a chroot that setup, test and demo need nothing more (root, ~10 min)
	@tools/check_fresh.sh

clean: ## remove what the other targets made
	rm -rf .venv *.egg-info build dist .demo .lab .pytest_cache .mypy_cache .ruff_cache .hypothesis .soak
	find xsm tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: lab-xen lab-xen-setup lab-xen-up lab-bench help setup demo test sim soak exhaustive lab-setup lab lab-up lab-down bench lint format install docs lock check-fresh clean
