SHELL := bash
.SHELLFLAGS := -euo pipefail -c
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake

.PHONY: env demo test test-slurm bench lint clean

env: .venv/complete  ## make .venv from the pinned files of envs/

.venv/complete: envs/build.txt envs/requirements.txt
	@command -v python3.11 > /dev/null || { echo "error: Python 3.11 is missing: apt install python3.11-venv python3.11-dev" >&2; exit 1; }
	@python3.11 -c "import ensurepip" 2> /dev/null || { echo "error: Python 3.11 cannot make environments: apt install python3.11-venv" >&2; exit 1; }
	@command -v cc > /dev/null || { echo "error: a C compiler is missing: apt install build-essential" >&2; exit 1; }
	@python3.11 -c "import pathlib, sysconfig as s; exit(not pathlib.Path(s.get_path('include'), 'Python.h').exists())" || { echo "error: Python's headers are missing: apt install python3.11-dev" >&2; exit 1; }
	python3.11 -m venv .venv
	$(BIN)/pip install --quiet -r envs/build.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -r envs/requirements.txt
	touch $@

demo: env  ## the whole chain on generated images, then its table and report
	@$(SNAKEMAKE) --logger rich
	@echo; cat results/demo/tables/demo.md
	@echo; echo "The page to look at: $(CURDIR)/results/demo/report.html"

test: env  ## all tests
	$(BIN)/pytest

test-slurm: env  ## on a real one-machine Slurm, which it installs as root on Debian
	@command -v slurmctld > /dev/null || [ "$$(id -u)" = 0 ] || { echo "error: Slurm is missing; run as root, or: apt install slurmctld slurmd slurm-client munge" >&2; exit 1; }
	command -v slurmctld > /dev/null || { apt-get update && apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge; }
	$(BIN)/pytest -m 'slurm and not slow' tests/slurm

bench: demo  ## ratios measured side by side; of the demo's models, too
	$(BIN)/pip install --quiet --no-deps -r envs/bench.txt
	for program in tests/bench/bench_*.py; do $(BIN)/python $$program; done

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint
	$(SNAKEMAKE) --lint --configfile config/coco.yaml

clean:  ## the demo's results and the caches; not the environment
	rm -rf results/demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
