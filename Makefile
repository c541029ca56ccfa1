# Everything runs in .venv/, which the first target that needs it makes. `make` alone says what there is.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# how many tests run side by side; each may hold a network of half a gigabyte and more
JOBS ?= 2
# more arguments for pytest, such as ARGS="-k crop"
ARGS ?=
# of `make demo`
ASSIGNMENT ?= fcn
# how long `make fuzz` goes on
SECONDS ?= 600
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.12 python3.11 python3.13 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
endif

.PHONY: help venv demo test fuzz lint lock gpu wheels clean

help:
	@echo 'make demo    a release, a class with one mistake each, trained checkpoints, and their grades (build/demo/); ASSIGNMENT=satellite'
	@echo 'make test    all tests; ARGS="-k crop" for some'
	@echo 'make fuzz    damaged notebooks, zips, checkpoints, messages and answers for ten minutes; SECONDS=60 SEED=7 for others'
	@echo 'make lint    ruff and mypy; part of make test'
	@echo 'make venv    the environment alone: .venv/ with the versions of requirements.lock (about 7 GB)'
	@echo 'make gpu     on a machine with one GPU: all that the kit claims of it, tried in nine minutes; DATA=CMP_ROOT for real facades'
	@echo 'make wheels  what a bare machine without a network lacks, into build/wheels/ (2.4 MB), for the --wheels of that script'
	@echo 'make lock    write the versions of .venv/ to requirements.lock'
	@echo 'make clean   remove what was built; .venv/ stays'

venv: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo 'No Python 3.11 or newer was found. Install one, or name it: make PYTHON=/path/to/python3' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo '$(PYTHON) could make no environment. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing into $(VENV)/: about 7 GB, a few minutes.'
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m autograder.demo $(ASSIGNMENT)

# one thread each: two test processes on two cores must not fight; files stay together, for what their tests share
test: lint
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -m "" -n $(JOBS) --dist loadfile --durations 15 $(ARGS)

# a failed round names itself; SEED=that-name replays it
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 SEGKIT_FUZZ_SECONDS=$(SECONDS) SEGKIT_FUZZ_SEED=$(or $(SEED),$(shell date +%s)) \
		$(BIN)/python -W ignore -m pytest -n 0 -q -rP --show-capture stdout -k promises tests/fuzz

# mypy looks at what changed since its last run; the first one takes half a minute
lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check --quiet .
	$(BIN)/python -m mypy

gpu: $(STAMP)
	$(BIN)/python benchmarks/first_gpu.py $(if $(DATA),--data $(DATA))

# pure Python only, so that they fit any machine; jsonschema from 4.18 on needs a compiled package
wheels: $(STAMP)
	$(BIN)/python -m pip download --quiet --no-deps --dest build/wheels --only-binary=:all: --platform any --implementation py --abi none \
		nbformat fastjsonschema 'jsonschema==4.17.3' attrs pyrsistent jupyter-core platformdirs traitlets \
		pytest pluggy iniconfig packaging pygments pytest-xdist execnet

# the CUDA libraries come with torch; what exists on Unix only is marked so
lock: $(STAMP)
	@{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable \
		| grep -viE '^(nvidia-|cuda-|triton==)|^#|@' \
		| sed -E 's/^((pexpect|ptyprocess)==.*)$$/\1 ; sys_platform != "win32"/'; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find autograder segkit tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} +
