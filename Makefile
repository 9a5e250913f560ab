# Few recipes on purpose. PYTHON is the interpreter of an environment with the extras installed.
PYTHON ?= .venv/bin/python

.PHONY: test lint check golden bench

test:
	$(PYTHON) -m pytest

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

check: test lint

golden:
	SAFE_EMBED_UPDATE_GOLDEN=1 $(PYTHON) -m pytest tests/e2e -k golden

bench:
	for script in benchmarks/*.py; do echo "== $$script"; $(PYTHON) "$$script" || exit 1; done
