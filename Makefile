# Works on a machine with Python 3.11+, make and a package index: every target installs what it
# needs into .venv once.
#   make demo     the whole calculation on a small fluid, results in $(OUTPUT); again to continue it
#   make test     the test suite
#   make coverage    the same, and the share of the library's lines that it runs
#   make lint     ruff, codespell and mypy; make types is mypy alone
#   make docs     the pages, in docs/_build
#   make bench    speed and cost, as ratios
#   make test-openmm86    the tests for OpenMM 8.6 and the newest openmm-ml, in a second environment
#   make test-opencl    the tests on OpenCL; Debian: apt-get install pocl-opencl-icd
#   make test-package   builds sdist and wheel, and tries the wheel outside the checkout
#   make clean    removes what the other targets made
# Another interpreter: `make demo PYTHON=python3.12`.
# An NVIDIA GPU: `make demo PLUGIN=cuda13` (see docs/installation.md).

PYTHON ?= python3
PLUGIN ?= cpu
VENV ?= .venv
OUTPUT ?= demo-output
THREADS ?= $(shell getconf _NPROCESSORS_ONLN)
CONFIG ?= examples/lj_demo.yaml
PYTEST_ARGS ?= -n auto --dist loadfile

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(PLUGIN)
DEV_STAMP := $(VENV)/.installed-$(PLUGIN)-dev
DOCS_STAMP := $(VENV)/.installed-$(PLUGIN)-docs

.PHONY: demo test coverage test-opencl test-openmm86 test-package lint types docs bench clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/openmm-nti run $(CONFIG) --output $(OUTPUT) --resume

# The many processes that tests start read compiled modules, whatever the environment says.
test: $(DEV_STAMP)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OPENMM_CPU_THREADS=1 \
		$(BIN)/python -m pytest $(PYTEST_ARGS)

coverage: override PYTEST_ARGS += --cov=openmm_nti --cov=reference_md --cov=training --cov=validation --cov-report=
coverage: test
	@echo "Lines of the library that the tests ran: $$($(BIN)/coverage report --format=total) %"

test-opencl: $(DEV_STAMP)
	$(BIN)/python -m pytest -m opencl tests/md

test-openmm86: $(VENV)/openmm86/.installed
	OMP_NUM_THREADS=1 OPENMM_CPU_THREADS=1 $(VENV)/openmm86/bin/python -m pytest tests/openmm86

# The wheel is built from the sdist, so it shows that the sdist is complete.
test-package: $(DEV_STAMP)
	rm -rf build/package && mkdir -p build/package
	$(BIN)/python setup.py -q sdist --dist-dir build/package
	$(BIN)/python -m pip wheel -q --no-deps -w build/package build/package/*.tar.gz
	$(BIN)/python .ci/check_wheel.py build/package/*.whl
	$(call borrow,build/package/env)
	build/package/env/bin/python -m pip install -q --no-deps build/package/*.whl
	cd build/package && env/bin/openmm-nti --version && \
		OMP_NUM_THREADS=1 env/bin/openmm-nti estimate --model lj-fluid-t1.25 --n 40 \
			--method neural_ti --set n_samples=4 --set n_steps=10

lint: types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

# mypy reads the installed layout, linked together in build/types.
types: $(DEV_STAMP)
	rm -rf build/types && mkdir -p build/types/openmm_nti
	cd build/types/openmm_nti && \
		ln -s ../../../openmm_nti/* $(addprefix ../../../,reference_md training validation) .
	$(BIN)/mypy -p openmm_nti

docs: $(DOCS_STAMP)
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build
	@echo "docs/_build/index.html"

bench: $(STAMP)
	$(BIN)/python benchmarks/speed.py --output bench-output --threads $(THREADS)
	$(BIN)/python benchmarks/cost.py --output bench-output/cost --n 40

clean:
	rm -rf $(VENV) build dist docs/_build docs/_generated *.egg-info demo-output bench-output \
		.pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# One plugin build per environment: the wheels of two builds overwrite each other's files.
$(STAMP): setup.py | $(BIN)/python
	@for other in $(filter-out $(PLUGIN),cpu cuda12 cuda13); do \
		[ ! -e $(VENV)/.installed-$$other ] || \
			{ echo "$(VENV) holds the $$other plugin: make clean first"; exit 1; }; \
	done
	$(BIN)/python -m pip install -e ".[$(PLUGIN)]"
	@$(BIN)/openmm-nti compile || echo "Going on without compiled operations: slower."
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/python -m pip install -e ".[$(PLUGIN),dev]"
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install -e ".[$(PLUGIN),docs]"
	@touch $@

# An environment that has all that $(VENV) holds, below what is installed into it.
define borrow
	$(BIN)/python -m venv $(1)
	$(BIN)/python -c 'import sys; print(*[p for p in sys.path if "site-packages" in p], sep="\n")' > \
		"$$($(1)/bin/python -c 'import site; print(site.getsitepackages()[0])')/below.pth"
endef

# OpenMM 8.6 in front: openmm-torch pins the older OpenMM in $(VENV).
$(VENV)/openmm86/.installed: $(DEV_STAMP)
	$(call borrow,$(VENV)/openmm86)
	$(VENV)/openmm86/bin/python -m pip install --no-deps \
		openmm==8.6.1 openmmml==1.8 setuptools wheel
	$(VENV)/openmm86/bin/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@
