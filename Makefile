# make demo: install what it needs and run the main job; make test: the same for the tests.
# make core, smoke: the distributions as others get them; make matrix, release-check, track-check:
# before a release. The page "Release" of the docs says when each is run.
VENV ?= .venv
PYTHON ?= python3
PIP_ARGS ?=
BIN := $(VENV)/bin
CORE := $(VENV)-core
BUILD := $(VENV)-build
MEET := $(VENV)-meet
PIP := $(BIN)/python -m pip install --disable-pip-version-check -q $(PIP_ARGS)

.PHONY: demo test test-all meet mutation docs lint core smoke dist matrix track track-check clean
.PHONY: release-check release-dist release-source release-install

demo: $(VENV)/.demo
	$(BIN)/ssltok run --out demo --overwrite

# One thread a process, so that two processes share two cores; `make test-all` runs every row of the
# covering array of parts, of which `make test` runs a tenth.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
test: $(VENV)/.dev lint docs
	$(TEST_ENV) $(BIN)/python -m pytest -q -n 2

test-all: $(VENV)/.browser lint docs meet
	SSLTOK_ALL=1 $(TEST_ENV) $(BIN)/python -m pytest -q -n 2

# The recipes of examples/with, each with the real package, in an environment of their own: what is
# missing there is an error, not a skip.
meet: $(MEET)/.ready
	SSLTOK_MEET=1 $(TEST_ENV) $(MEET)/bin/python -m pytest -q tests/test_meet.py

# Which broken lines the tests notice: 600 mutants, an hour or less; what is done is not done again.
mutation: $(VENV)/.mutation
	$(TEST_ENV) nice -n 15 $(BIN)/python -m benchmarks.studies.mutation.run

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check -q .
	$(BIN)/mypy

docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict -q -f docs/mkdocs.yml -d ../site

# What users get: wheel and source distribution, built with the versions of .ci/build.txt.
dist: $(BUILD)/.ready
	$(BUILD)/bin/python .ci/distributions.py dist

# The wheel without any extra: every part imports and works; what needs an extra says so.
core: $(CORE)/.ready
	$(CORE)/bin/python -I .ci/core.py

# Both distributions hold the same files, and the installed wheel does a small piece of work.
smoke: $(CORE)/.ready
	$(CORE)/bin/python -I .ci/smoke.py

# Imports, contracts and one fit: each Python there is, the lowest versions declared, the newest.
matrix: dist
	$(PYTHON) .ci/matrix.py --log benchmarks/results/matrix.txt $(MATRIX_ARGS)

# A row of ratios for this commit; and whether a bar is lost.
track: $(VENV)/.peers
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/track.py

track-check: $(VENV)/.peers
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/track.py --check

release-check: release-dist release-install release-source

release-dist: dist
	$(BUILD)/bin/python -m twine check --strict dist/*.whl dist/*.tar.gz

release-install: dist
	PIP_ARGS="$(PIP_ARGS)" $(PYTHON) .ci/install.py dist

release-source: dist
	rm -rf dist/unpacked && mkdir dist/unpacked && tar xzf dist/*.tar.gz -C dist/unpacked
	test -x dist/unpacked/ssltok-*/.ci/run
	cd dist/unpacked/ssltok-* && env -u MAKEFLAGS make demo PYTHON="$(PYTHON)" PIP_ARGS="$(PIP_ARGS)"
	cd dist/unpacked/ssltok-* && env -u MAKEFLAGS make test PYTHON="$(PYTHON)" PIP_ARGS="$(PIP_ARGS)"
	rm -rf dist/unpacked

clean:
	rm -rf $(VENV) $(CORE) $(BUILD) $(MEET) .venv-matrix dist build site demo .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.demo: EXTRAS = pipelines,data
$(VENV)/.dev: EXTRAS = dev

# torch comes first, by name and version: an unpinned torch would be another build.
$(VENV)/.demo $(VENV)/.dev: pyproject.toml .ci/constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "$$(grep '^torch==' .ci/constraints.txt)"
	$(PIP) -c .ci/constraints.txt -e ".[$(EXTRAS)]"
	touch $@

$(VENV)/.browser: $(VENV)/.dev .ci/browser.txt
	$(PIP) -c .ci/constraints.txt -r .ci/browser.txt
	touch $@

$(VENV)/.mutation: $(VENV)/.dev .ci/mutation.txt
	$(PIP) -c .ci/constraints.txt -r .ci/mutation.txt
	touch $@

$(VENV)/.peers: $(VENV)/.dev
	$(PIP) -c .ci/constraints.txt -r .ci/peers.txt
	touch $@

$(MEET)/.ready: .ci/meet.txt .ci/constraints.txt
	test -x $(MEET)/bin/python || $(PYTHON) -m venv $(MEET)
	$(MEET)/bin/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) "$$(grep '^torch==' .ci/constraints.txt)"
	$(MEET)/bin/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -r .ci/meet.txt
	$(MEET)/bin/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) --no-deps -e .
	touch $@

$(BUILD)/.ready: .ci/build.txt
	test -x $(BUILD)/bin/python || $(PYTHON) -m venv $(BUILD)
	$(BUILD)/bin/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -r .ci/build.txt
	touch $@

# Without extras: torch, the core's four packages, and the wheel as it was just built.
$(CORE)/.ready: dist .ci/constraints.txt
	test -x $(CORE)/bin/python || $(PYTHON) -m venv $(CORE)
	$(CORE)/bin/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) "$$(grep '^torch==' .ci/constraints.txt)"
	$(CORE)/bin/python -m pip install --disable-pip-version-check -q $(PIP_ARGS) -c .ci/constraints.txt dist/*.whl
	$(CORE)/bin/python -m pip install --disable-pip-version-check -q --no-deps --no-index --force-reinstall dist/*.whl
	touch $@
