# `make up` starts the server, `make test` runs the tests; both set up .venv first.

PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/python
ARGS ?=
# Tests wait for children more than they compute.
WORKERS ?= 3
# Images set it to stay small; here each of hundreds of children would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: up test test-all check bench fmt docs pictures lock env-up env-dev env-all help

help:
	@grep -hE '^[a-z-]+:.*# ' Makefile | sed 's/:.*# /\t/'

up: env-up  # start the server: make up ARGS="--port 9000"
	@exec $(BIN)/trunkcall up $(ARGS)

# A file's tests run in one process, so that the server they share is started once.
test: env-dev  # the fast tests
	@$(RUN) -m pytest -q -n $(WORKERS) --dist loadfile $(ARGS)

test-all: env-all  # the slow ones and those with peers too
	@$(RUN) -m pytest -q -n $(WORKERS) --dist loadgroup -m "slow or not slow" $(ARGS)

check: env-dev  # style, types, layers, lock files, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	$(BIN)/lint-imports
	$(RUN) scripts/lock.py --check
	$(RUN) scripts/cli_docs.py --check
	$(RUN) scripts/vendor.py --check
	@# No registry and no machine's paths in the tree; the brackets keep this line from finding itself.
	! git grep -nIE 'p[y]pi\.org|pythonh[o]sted\.org|npm[j]s\.(org|com)|/w[o]rk/'

bench: env-up  # head to head with other gateways
	@exec $(RUN) -m bench $(ARGS)

fmt: env-dev  # put style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: env-dev  # write docs/cli.md
	$(RUN) scripts/cli_docs.py

pictures: env-dev  # take the pictures of the web page
	$(RUN) -m scripts.pictures $(ARGS)

lock: env-dev  # write the lock files
	$(RUN) scripts/lock.py

env-up env-dev env-all: env-%:
	@$(PYTHON) scripts/bootstrap.py $*
