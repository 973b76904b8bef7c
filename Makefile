# The two that a newcomer types: make demo, make test.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pik
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv/bin/uv)
BIN := .venv/bin
CYCLONEDX := 7.5.0

.PHONY: help setup demo demo-k8s test restarts crash truth simulate soak cluster-tools cluster cluster-down check verify generate format lambdas sbom clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## the environment, from pinned packages

demo: .venv/ready ## the whole loop on real data: who changed the dashboard?
	@$(BIN)/python examples/flights/demo.py $(DEMO)

demo-k8s: .venv/ready cluster-tools ## the same story on a throw-away Kubernetes cluster, with real pods (root on Linux)
	@$(BIN)/python examples/flights/demo_k8s.py $(DEMO)

test: .venv/ready check cluster-tools ## every check and every test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

restarts: .venv/ready ## the operator killed 50 times while 50 objects come, change and go
	PYTHONPATH=tests:localstack $(BIN)/python -m running.campaign $(RESTARTS)

crash: .venv/ready ## writers and workers killed over 200 times; an independent checker says what was kept
	PYTHONPATH=tests $(BIN)/python -m crash $(CRASH)

truth: .venv/ready ## the model test, rebuilt histories and tampering, far more of them than in make test
	HYPOTHESIS_PROFILE=random PIK_MODEL=$(or $(MODEL),300) PIK_HISTORIES=$(or $(HISTORIES),200) PIK_FLIPS=$(or $(FLIPS),10000) \
	  $(BIN)/python -m pytest --numprocesses auto tests/truth tests/integrity/test_tampering.py

simulate: .venv/ready ## the engine on virtual time, 100,000 schedules of crashes and lost answers: SCHEDULES=, SEED=
	PYTHONPATH=tests:operator $(BIN)/python -m simulation.campaign \
	  $(if $(SCHEDULES),--schedules $(SCHEDULES)) $(if $(SEED),--seed $(SEED))

soak: .venv/ready ## half an hour of mixed load: no growth of memory, files or threads
	$(BIN)/python benchmarks/soak.py $(SOAK)

cluster-tools: .venv/ready ## what tests on Kubernetes need: built once; as root on Debian packages for pods too
	@$(BIN)/python localstack/cluster.py tools

cluster: .venv/ready ## a throw-away Kubernetes cluster, with pods where this machine can
	@$(BIN)/python localstack/cluster.py up

cluster-down: .venv/ready ## end it
	@$(BIN)/python localstack/cluster.py down

check: .venv/ready ## lint, format, layers, types, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(MAKE) --no-print-directory verify

verify: .venv/ready ## generated files are what the models say
	$(BIN)/python -m pik.api.generate --check
	$(BIN)/python charts/generate.py --check
	$(BIN)/python docs/generate.py --check

generate: .venv/ready ## write the generated files
	$(BIN)/python -m pik.api.generate
	$(BIN)/python charts/generate.py
	$(BIN)/python docs/generate.py

format: .venv/ready ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lambdas: .venv/ready | $(UV) ## the packages of the Lambda functions: build/lambdas/*.zip (LAMBDAS="--python 3.11" for an emulator)
	$(BIN)/python lambdas/package.py --uv $(UV) $(LAMBDAS)

sbom: | $(UV) ## what the image has: build/sbom.cdx.json (CycloneDX)
	$(UV) venv --quiet --clear --python $(PYTHON) build/sbom
	$(UV) pip install --quiet --python build/sbom/bin/python --constraint constraints.txt '.[operator]'
	$(UV) tool run --quiet --from cyclonedx-bom==$(CYCLONEDX) cyclonedx-py environment \
	  --pyproject pyproject.toml --mc-type application --output-reproducible \
	  --output-file build/sbom.cdx.json build/sbom/bin/python

clean: ## remove the environment; caches of other tools stay in the cache folder
	rm -rf .venv

.venv/ready: pyproject.toml constraints.txt | $(UV)
	@$(PYTHON) -c 'import sys; sys.exit("pik needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[operator]' --group dev
	@touch $@

# only where there is no uv
$(CACHE)/uv/bin/uv:
	$(PYTHON) -m venv $(CACHE)/uv
	$(CACHE)/uv/bin/pip install --quiet --disable-pip-version-check 'uv>=0.8'
