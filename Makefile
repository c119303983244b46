# The verbs of the house. VENV names the environment that they use; `make setup` makes it.
VENV ?= .venv
PYTHON ?= python3
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: setup check fix test acceptance demo docs pictures clean

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

# a file at a time on each core: most tests wait for a peer
test:
	pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

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
	CXR_PICTURES=docs/images pytest -q tests/acceptance/test_ohif.py

# trained runs and the environment stay
clean:
	rm -rf build dist *.egg-info cxr-node-demo* .coverage htmlcov
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	find . -name '*.partial' -not -path './$(VENV)/*' -not -path './runs/*' -prune -exec rm -rf {} +
