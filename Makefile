# make demo: install what it needs and run the main job; make test: the same for the tests.
VENV ?= .venv
PYTHON ?= python3
PIP_ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS)

.PHONY: demo test test-all docs lint clean

demo: $(VENV)/.demo
	$(BIN)/ssltok run --out demo --overwrite

# One thread a process, so that two processes share two cores; `make test-all` runs every row of the
# covering array of parts, of which `make test` runs a tenth.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
test: $(VENV)/.dev lint docs
	$(TEST_ENV) $(BIN)/python -m pytest -q -n 2

test-all: $(VENV)/.dev lint docs
	SSLTOK_ALL=1 $(TEST_ENV) $(BIN)/python -m pytest -q -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q -f docs/mkdocs.yml -d ../site

clean:
	rm -rf $(VENV) site demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.demo: EXTRAS = pipelines,data
$(VENV)/.dev: EXTRAS = dev

# torch comes first, by name and version: an unpinned torch would be another build.
$(VENV)/.demo $(VENV)/.dev: pyproject.toml .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' .ci/constraints.txt)"
	$(PIP) -c .ci/constraints.txt -e ".[$(EXTRAS)]"
	touch $@
