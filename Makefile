# Each target makes .venv and installs what it needs; a second run finds it there. PYTHON=... chooses the interpreter.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: demo test compose-test check docs soak bench format clean
.DEFAULT_GOAL := test

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Python 3.11 or later is needed: install it, or name it with make PYTHON=..." >&2; exit 69; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
		{ echo "python3 -m venv failed: on Debian, apt install python3-venv" >&2; exit 69; }
	@echo "installing into .venv" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' >&2
	@touch $@

demo: .venv/.installed
	@$(BIN)/pganalytics demo $(ARGS)

# A test that takes too long fails by itself (pyproject.toml). One that cannot even be interrupted ends its worker after 900 s, and
# with that the run: a replaced worker is never given work by pytest-xdist 3.8 (its issues 1323 and 1378), which waits for ever.
test: .venv/.installed
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --max-worker-restart 0 \
		-o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true $(ARGS)

# Needs a Docker engine: builds the image, starts all of compose.yaml under another name, and takes it down again.
compose-test: .venv/.installed
	@docker info > /dev/null 2>&1 || { echo "no Docker engine answers: make test checks what can be checked without" >&2; exit 69; }
	$(BIN)/pytest tests/compose/with_an_engine.py $(ARGS)

check: .venv/.installed
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/.installed
	$(BIN)/python -m pganalytics.runtime.self_metrics_page > docs/self-metrics.md
	$(BIN)/python -m pganalytics.producers.metric_reference > docs/metrics.md
	$(BIN)/python -m pganalytics.runtime.settings_reference > docs/settings.md

soak: .venv/.installed
	@PYTHONPATH=tests $(BIN)/python -m chaos.soak $(ARGS)

bench: .venv/.installed
	@$(BIN)/python -m bench $(ARGS)

format: .venv/.installed
	$(BIN)/ruff format src tests bench
	$(BIN)/ruff check --fix src tests bench

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
