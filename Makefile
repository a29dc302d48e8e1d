# Similis on a fresh machine: Python 3.11 or newer, make and a package index are all that it takes.

VENV := .venv
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PROTO := proto
PACKAGES := gateway embedder trainer catalog servicekit standalone local_qdrant
# Whole instances wait more than they compute: two processes use two cores. A file stays in one of them, for what it
# starts to serve all its tests; files begin in the order of tests/conftest.py.
PARALLEL := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup up demo test check check-style check-types check-proto check-fast tools helm-check kube-check chart
.PHONY: docker-check dashboard proto constraints clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with everything in it

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; say where: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(VENV)/bin/python -c pass 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV), about 2 GB: this takes minutes, and is done once."
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,test,dev]'
	@touch $@

up: $(STAMP) ## run Similis on this machine; options go in ARGS
	@similis up $(ARGS)

demo: $(STAMP) ## show it with free photographs; ARGS=--exit ends after the searches
	@python -m demo $(ARGS)

test: tools check ## everything: 'make check' and all other tests
	pytest $(PARALLEL) --ignore=tests/unit --ignore=tests/architecture

check: $(STAMP) ## format, lint, types, generated code, fast tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-style check-proto check-types check-fast

check-style: $(STAMP)
	ruff format --check .
	ruff check .

check-types: $(STAMP)
	mypy $(PACKAGES) demo deploy/grafana deploy/tools.py deploy/chart_reference.py

check-proto: $(STAMP)
	buf lint
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && sh $(PROTO)/generate.sh "$$fresh" && \
	diff -r -x '*.proto' -x '*.sh' -x __init__.py -x py.typed -x __pycache__ "$$fresh" $(PROTO) || \
	{ echo "The generated code is out of step with the .proto files: run 'make proto'." >&2; exit 1; }

check-fast: $(STAMP)
	pytest tests/unit tests/architecture

docker-check: $(STAMP) ## install and start what goes into the images, in clean folders (needs the package index)
	sh deploy/docker/check.sh

dashboard: $(STAMP) ## write the Grafana dashboard anew
	python -m deploy.grafana.dashboard

helm-check: $(STAMP) tools ## the Helm chart, with the real helm and without a cluster
	pytest $(PARALLEL) tests/deploy

kube-check: $(STAMP) tools ## install the chart on the API server that KUBECONFIG names; KUBE_CRDS=FOLDER adds resources
	@test -n "$(KUBECONFIG)" || { echo "Set KUBECONFIG to the configuration of a cluster to test on." >&2; exit 1; }
	SIMILIS_KUBE_CHECK=1 KUBECONFIG="$(KUBECONFIG)" KUBE_CRDS="$(KUBE_CRDS)" pytest --numprocesses=2 tests/deploy/cluster

tools: $(STAMP) ## fetch what checks the chart (helm, promtool, checkov) into build/tools
	@python deploy/tools.py

chart: $(STAMP) ## bring the chart's comments, table and settings in step
	python deploy/chart_reference.py

proto: $(STAMP) ## write the generated code of the .proto files anew
	sh $(PROTO)/generate.sh

constraints: ## write constraints.txt anew: the newest of what pyproject.toml allows
	@rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' -e '.[demo,test,dev]'
	@{ echo '# The exact versions that were tested. Written by "make constraints".'; \
	build/constraints/bin/python -m pip freeze --exclude-editable | sed -e 's/+cpu$$//'; } > constraints.txt
	@rm -rf build/constraints

clean: ## remove what was built; data directories stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
