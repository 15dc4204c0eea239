SHELL := bash
.SHELLFLAGS := -euo pipefail -c
BIN := .venv/bin
SNAKEMAKE := $(BIN)/snakemake
PYTEST := $(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile  # files side by side

.PHONY: env demo test test-all test-slurm test-gpu bench lint clean

env: .venv/complete  ## make .venv from the pinned files of envs/; PYTHON=… chooses another Python

.venv/complete: envs/build.txt envs/requirements.txt envs/yte/yte.py
	@python=$$(envs/find_python); echo "$$python, $$($$python --version), makes .venv"; $$python -m venv .venv
	$(BIN)/pip install --quiet -r envs/build.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -r envs/requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation ./envs/yte  # in the place of the one that runs files
	touch $@

demo: env  ## the whole chain on drawn images, then its table and report
	@$(SNAKEMAKE) --logger rich
	@echo; cat results/demo/tables/demo.md
	@echo; echo "The page to look at: $(CURDIR)/results/demo/report.html"

test: env  ## all tests but the slow ones
	$(PYTEST)

test-all: env  ## all tests but those on Slurm
	$(PYTEST) -m 'not slurm'

test-slurm: env  ## on a real one-machine Slurm, which it installs as root on Debian
	@command -v slurmctld > /dev/null || [ "$$(id -u)" = 0 ] || { echo "error: Slurm is missing; run as root, or: apt install slurmctld slurmd slurm-client munge" >&2; exit 1; }
	command -v slurmctld > /dev/null || { apt-get update && apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge; }
	$(BIN)/pytest -m 'slurm and not slow' tests/slurm

test-gpu: env  ## on a GPU; .venv/bin/python may be another one, with the packages of envs/requirements.txt
	$(BIN)/pytest -m gpu tests/gpu tests/test_forks.py

bench: demo  ## ratios measured side by side; of the demo's models, and of one of keypoints
	$(BIN)/pip install --quiet --no-deps -r envs/bench.txt
	$(SNAKEMAKE) --configfile tests/bench/keypoints.yaml
	for program in tests/bench/bench_*.py; do $(BIN)/python $$program || echo "$$program: failed"; done

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
