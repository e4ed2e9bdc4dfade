# make        set up and reproduce the figures of the README
# make test   set up and run the tests

PYTHON ?= python3
BIN = .venv/bin

.PHONY: figures test clean

figures: .venv/installed
	$(BIN)/python train.py
	$(BIN)/python network_analysis.py
	$(BIN)/python are_modules_indegree_nobetween.py

test: .venv/installed-tests
	$(BIN)/python -m pytest

.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

.venv/installed-tests: .venv/installed tests/requirements.txt
	$(BIN)/python -m pip install -r tests/requirements.txt
	touch $@

clean:
	rm -rf .venv
