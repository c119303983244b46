# The verbs of the house. VENV names the environment that they use; `make setup` makes it.
VENV ?= .venv
PYTHON ?= python3
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: setup check fix test acceptance demo docs pictures lock sbom clean

# torch first and alone: the trainers' wider range would bring a newer one with gigabytes of CUDA;
# radlabels for its sample of labelled reports alone: its code wants a torch that is too old
setup:
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet torch==2.13.0
	$(VENV)/bin/pip install --quiet --editable ".[train,preprocess,cluster,s3,oidc,otel,cjk,tensorrt-rtx,dev]"
	$(VENV)/bin/pip install --quiet --no-deps --ignore-requires-python radlabels==0.2.0

check:
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	deptry .
	typos

fix:
	ruff check --fix .
	ruff format .
	typos --write-changes

# a file at a time on each core, with one thread each: threads that wait for each other wait longer
test:
	OMP_NUM_THREADS=1 pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

acceptance:
	pytest -m acceptance

demo:
	cxr-node demo

docs:
	cxr-node conformance -c config.yaml --output docs/reference/conformance.md
	cxr-node metrics --describe --output docs/reference/metrics.md
	cxr-node schema --output docs/reference/config.schema.json
	python -m tests.reference

# drawn, drafted and photographed anew; nothing of a patient is in them
pictures:
	python -m tests.pictures
	CXR_PICTURES=docs/images pytest -q tests/acceptance/test_ohif.py tests/acceptance/test_admin_browser.py

# what the images install, each file with its hash; the second for NVIDIA GPUs
LOCK = uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-header
EXTRAS = --extra cluster --extra s3 --extra oidc --extra otel --extra cjk
lock:
	grep -o 'setuptools>=[0-9]*' pyproject.toml | head -n 1 | $(LOCK) --output-file deploy/build.lock -
	$(LOCK) --universal $(EXTRAS) --output-file deploy/requirements.lock pyproject.toml
	$(LOCK) --python-platform x86_64-manylinux_2_28 $(EXTRAS) --extra gpu --no-emit-package onnxruntime \
		--output-file deploy/requirements-gpu.lock pyproject.toml engine/backends/onnxruntime-gpu/pyproject.toml

# everything in the image for the CPU with version and licence (CycloneDX), from a fresh environment
sbom:
	python -m venv dist/sbom
	dist/sbom/bin/pip install --quiet --no-deps --require-hashes --requirement deploy/requirements.lock
	dist/sbom/bin/pip install --quiet --no-deps .
	python deploy/sbom.py dist/sbom dist/sbom.cdx.json
	rm -r dist/sbom

# trained runs and the environment stay
clean:
	rm -rf build dist *.egg-info cxr-node-demo* .coverage htmlcov
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	find . -name '*.partial' -not -path './$(VENV)/*' -not -path './runs/*' -prune -exec rm -rf {} +
