# Each target sets up what it needs; `make book` and `make test` are all that a reader needs.
PYTHON ?= python3
PRESET ?= quick
BIN := .venv/bin

.PHONY: book test check slurm pdf links lint notebooks benchmark requirements clean

book: .venv/ready
	$(BIN)/python -m rnc book --preset $(PRESET)

# the networks first, side by side; the notebooks would train them one after the other
test: .venv/ready
	$(BIN)/python -m rnc run --extra stronger early checks generalisation thumbnails
	$(BIN)/python -m rnc neighbours
	$(BIN)/python -m pytest --nbval

# the built book in a real browser; skipped with a reason where there is no Chromium
check: book
	$(BIN)/python -m pytest tests/browser

# grids as job arrays, on a real Slurm of one node; skipped with a reason where there is none
slurm: .venv/ready
	$(BIN)/python -m pytest tests/slurm -rs

# the whole book as _build/book.pdf; needs Chromium
pdf: book
	$(BIN)/python -m rnc pdf

# asks every address outside the book; needs a network
links: book
	$(BIN)/jupyter-book build _build/source --path-output . --builder linkcheck

lint: .venv/ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check

# after a text twin in notebooks/*.md was edited
notebooks: .venv/ready
	$(BIN)/python -m rnc notebooks

benchmark: .venv/ready
	$(BIN)/python tests/benchmarks/benchmark.py

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed; name one: make book PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# new pins from the ranges in pyproject.toml; needs uv
requirements:
	uv pip compile --universal --python-version 3.11 --extra book --extra test \
	    pyproject.toml --output-file requirements.txt --upgrade

# the book's files; runs/ keeps what was trained
clean:
	rm -rf _build
