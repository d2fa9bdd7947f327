# One command each; `make help` lists them.  All set-up is done by the way (tools/bootstrap.py) and only once.

PYTHON ?= python3
FUZZ_SECONDS ?= 60
SECONDS ?= 10
SEED ?=
MODES ?=
SOAK ?=
ECOSYSTEM ?=
SCALE ?= 1.0
PYTHONS ?=
TARGETS ?=
CELLS ?=
SOURCE ?=

py := .venv/bin/python
with_broker := $(py) tools/broker.py exec --

.PHONY: help setup setup-test setup-bench setup-docs build test ctest test-asan torture soak ecosystem lint format fuzz docs demo bench bench-quick wheel musl matrix free-threading clean

help:
	@echo 'make demo         every example on pika and on cpika, side by side, with the rates of both'
	@echo 'make test         everything: C tests with sanitizers, static checks, tests against a broker'
	@echo 'make bench        the benchmarks of all clients; bench-quick: under two minutes'
	@echo 'make setup        system packages, virtual environment, build (the others do it too)'
	@echo 'make ctest        the tests of src/wire alone: plain, ASan + UBSan, TSan'
	@echo 'make test-asan    the extension under ASan + UBSan: a hostile server, many threads (part of make test)'
	@echo 'make torture      random use of everything, judged; SECONDS=10 each, SEED=1, MODES=threads,signals/tls'
	@echo 'make fuzz         the fuzz targets, FUZZ_SECONDS=60 each'
	@echo 'make soak         cut networks, killed nodes, hostile peers, load, leaks (15 min); SOAK=cuts SCALE=0.1 for less'
	@echo 'make ecosystem    libraries of others and tracing agents, on pika and on cpika; ECOSYSTEM=dramatiq,newrelic for less'
	@echo 'make wheel        an sdist and wheels with their own rabbitmq-c in dist/, installed and tried; PYTHONS=, TARGETS='
	@echo 'make matrix       the tests on every CPython, on Debian 12, 13 and unstable, as a table; CELLS=debian-13/3.9'
	@echo 'make musl         tests on a CPython for musl, as Alpine has, which is built here first'
	@echo 'make free-threading SOURCE=Python-3.14.tar.xz   the threads'"'"' tests without the GIL, under ThreadSanitizer'
	@echo 'make lint         compiler warnings, analyzers, ruff, mypy, stubtest'
	@echo 'make docs         the site of the documentation, in build/docs'
	@echo 'make format       clang-format and ruff over the sources'
	@echo 'make clean        removes what was built'

setup build:
	@$(PYTHON) tools/bootstrap.py

setup-test:
	@$(PYTHON) tools/bootstrap.py --test

setup-bench:
	@$(PYTHON) tools/bootstrap.py --bench

setup-docs:
	@$(PYTHON) tools/bootstrap.py --docs

# Most tests wait for a broker: four files at a time keep two cores busy.
test: setup-test
	@$(with_broker) $(py) -m pytest -n 4 --dist loadgroup

ctest: setup-test
	@$(py) tools/ctest.py run

test-asan: setup-test
	@$(with_broker) $(py) -m pytest tests/test_sanitizers.py

torture: setup-test
	@PYTHONPATH=tests $(with_broker) $(py) -m torture --seconds '$(SECONDS)' --seed '$(SEED)' --mode '$(MODES)'

fuzz: setup-test
	@$(py) tools/ctest.py fuzz --seconds $(FUZZ_SECONDS)

soak: setup-test
	@PYTHONPATH=tests $(py) -m soak $(if $(SOAK),'$(SOAK)') --scale $(SCALE)

ecosystem: setup-test
	@PYTHONPATH=tests $(py) -m ecosystem $(if $(ECOSYSTEM),'$(ECOSYSTEM)')

lint: setup-test
	@$(py) tools/checks.py

format: setup-test
	@.venv/bin/clang-format -i src/*.c src/*/*.[ch] tests/c/*.[ch]
	@.venv/bin/ruff check --quiet --fix --select I . && .venv/bin/ruff format --quiet .

docs: setup-docs
	@$(py) -m sphinx --fail-on-warning --keep-going --nitpicky --quiet docs build/docs
	@echo 'made build/docs/index.html'

demo: setup
	@$(with_broker) $(py) tools/demo.py

bench: setup-bench
	@$(py) benchmarks/run.py

bench-quick: setup-bench
	@$(py) benchmarks/run.py --quick

wheel:
	@$(PYTHON) tools/bootstrap.py --wheel
	@$(py) tools/wheels.py --pythons $(PYTHONS) --targets $(TARGETS)
	@$(with_broker) $(py) tools/wheels_tried.py

musl:
	@$(PYTHON) tools/bootstrap.py --wheel
	@$(py) tools/musl.py

matrix:
	@$(PYTHON) tools/bootstrap.py --wheel
	@$(py) tools/matrix.py $(CELLS)

free-threading: setup-test
	@$(py) tools/free_threading.py '$(SOURCE)'

clean:
	rm -rf build dist .venv .pytest_cache .mypy_cache .ruff_cache python/*.egg-info python/cpika/_core.*.so
	find . -name __pycache__ -prune -exec rm -rf {} +
