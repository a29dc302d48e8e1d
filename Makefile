# Similis on a fresh machine. It needs Python 3.11 or newer, make and a package index, nothing else.

VENV := .venv
STAMP := $(VENV)/.installed
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
PROTO := proto
PACKAGES := gateway embedder trainer catalog servicekit standalone local_qdrant client/similis_client client/similis_cli
# A package index to take torch from, if it should not be the one that everything else comes from (README, "Try it").
TORCH_INDEX ?=
# Four processes keep two cores busy, because tests also wait. Of the slow tests, a file runs in one process, so that
# its fixtures start once; tests/conftest.py orders the files.
PARALLEL := --dist=loadfile --no-loadscope-reorder --numprocesses

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
# Each process would compile all that it imports, since pip does not do it: a gateway takes 2.3 s instead of 0.9.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup up bench demo test check check-style check-types check-generated check-fast tools helm-check kube-check
.PHONY: check-audit chaos chart docker-check sbom dashboard docs proto constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv

$(STAMP): pyproject.toml client/pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found. Set its path: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(VENV)/bin/python -c pass 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV). This takes a few minutes and happens once."
	@echo "It needs about 2 GB with torch's CPU build and 6 GB with its CUDA build. Set TORCH_INDEX to choose the index that torch comes from."
	@test -z "$(TORCH_INDEX)" || $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt \
		--no-deps --index-url "$(TORCH_INDEX)" torch
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e ./client -e '.[demo,test,dev]'
	@touch $@

up: $(STAMP) ## run Similis on this machine; pass options in ARGS
	@similis up $(ARGS)

bench: $(STAMP) ## measure searches, indexing, uploads, starts and memory beside their bounds (docs/performance.md); options in ARGS
	@python -m bench.performance $(ARGS)

demo: $(STAMP) ## try it with free photographs; ARGS=--exit stops after the searches
	@python -m demo $(ARGS)

test: tools check ## run every test, 'make check' included
	pytest $(PARALLEL)=4 --durations=25 --ignore=tests/unit --ignore=tests/architecture

check: $(STAMP) ## check format, lint, types, generated files and known vulnerabilities; run the fast tests
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target check-style check-generated check-types check-fast check-audit

check-style: $(STAMP)
	ruff format --check .
	ruff check .

check-types: $(STAMP)
	mypy $(PACKAGES) demo bench deploy docs tests

check-generated: $(STAMP)
	python docs/configuration_reference.py --check
	python deploy/chart_reference.py --check
	python -m openapi_spec_validator gateway/about/openapi.yaml
	buf lint
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && sh $(PROTO)/generate.sh "$$fresh" && \
	diff -r -x '*.proto' -x '*.sh' -x __init__.py -x py.typed -x __pycache__ "$$fresh" $(PROTO) || \
	{ echo "The generated code differs from the .proto files. Run 'make proto'." >&2; exit 1; }

check-fast: $(STAMP)
	pytest --dist=worksteal --numprocesses=3 tests/unit tests/architecture

check-audit: $(STAMP)
	python deploy/audit.py

chaos: $(STAMP) ## attack an instance with larger numbers than 'make test' does; takes an hour or two
	SIMILIS_CHAOS_SCALE=10 pytest tests/reliability

docker-check: $(STAMP) ## install and start the contents of the images, without a container engine
	sh deploy/docker/check.sh

sbom: docker-check ## write the bill of materials of each image (CycloneDX) and the licences into build/sbom
	@python deploy/tools.py cyclonedx
	@rm -rf build/sbom && mkdir -p build/sbom
	@for service in gateway embedder trainer; do \
	build/tools/cyclonedx/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
	--output-file build/sbom/$$service.cdx.json build/images/$$service/bin/python || exit 1; done
	@python deploy/licences.py > build/sbom/licences.md
	@echo "Written: build/sbom"

dashboard: $(STAMP) ## regenerate the Grafana dashboard
	python -m deploy.grafana.dashboard

helm-check: $(STAMP) tools ## test the Helm chart with the real helm, without a cluster
	pytest $(PARALLEL)=2 tests/deploy

kube-check: $(STAMP) tools ## install the chart on the API server that KUBECONFIG names; KUBE_CRDS=FOLDER adds resources
	@test -n "$(KUBECONFIG)" || { echo "Set KUBECONFIG to the configuration of a cluster to test on." >&2; exit 1; }
	SIMILIS_KUBE_CHECK=1 KUBECONFIG="$(KUBECONFIG)" KUBE_CRDS="$(KUBE_CRDS)" pytest --numprocesses=2 tests/deploy/cluster

tools: $(STAMP) ## download the tests' tools (helm, promtool, checkov, axe, Mirador, chromium, nginx, systemd, …) into build/tools
	@python deploy/tools.py

chart: $(STAMP) ## regenerate the chart's comments, table and settings from its schema
	python deploy/chart_reference.py

docs: $(STAMP) ## regenerate docs/configuration.md
	python docs/configuration_reference.py

proto: $(STAMP) ## regenerate the code of the .proto files
	sh $(PROTO)/generate.sh

constraints: ## regenerate constraints.txt with the newest versions that pyproject.toml allows
	@rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' -e ./client -e '.[demo,test,dev]'
	@{ echo '# The exact versions that are tested. Written by "make constraints".'; \
	build/constraints/bin/python -m pip freeze --exclude-editable | sed -e 's/+cpu$$//'; } > constraints.txt
	@rm -rf build/constraints

clean: ## remove all build results, but no data directories
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
