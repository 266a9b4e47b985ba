# `make demo`, `make test` and `make docs` create the environment they need.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs environment dicom-tools pacs-tools clean
.DEFAULT_GOAL := demo

environment: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gliodistill needs Python 3.11 or newer, got " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps dynamic-network-architectures
	@touch $@

demo: environment
	$(BIN)/gliodistill demo -o demo

lint: environment
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports

# Without the two thresholds glibc returns every freed image to the kernel, which zeroes its pages
# again for the next one: two thirds of the system time of these tests.
test: lint
	OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=2147483648 $(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder

docs: environment
	$(BIN)/mkdocs build --strict

# dciodvfy, which checks what is written as DICOM; its tests are skipped where it is missing.
dicom-tools:
	command -v dciodvfy || { apt-get update && apt-get install -y --no-install-recommends dicom3tools; }

# Orthanc, which the PACS node is tested against; those tests are skipped where it is missing.
pacs-tools:
	command -v Orthanc || test -x /usr/sbin/Orthanc || { apt-get update && apt-get install -y --no-install-recommends orthanc orthanc-dicomweb; }

clean:
	rm -rf $(VENV) demo build dist site
