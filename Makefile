# `make help` lists the targets. Everything runs in .venv, which `make setup` makes once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXPERIMENT ?= numerical/quick
SEED ?= 0
# How many tests run side by side; those of one file share its fixtures, and go one after another.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q
# A paper's items: laptop or paper; who starts the runs (hydra/launcher: local, slurm, slurm_gpus, basic).
SCALE ?= laptop
LAUNCHER ?= local
PAPER := $(if $(filter paper,$(SCALE)),paper/)
ITEMS := table1 table4 figure5 figure6 figure5c_plain figure6_longer figure7a figure8 spectrum content_size content_size_style objectives views \
	figure3 figure11 figure10a figure10a_longer figure10a_cooler figure10b comm_trifeature comm_bias comm_fusion comm_digits \
	comm_images multibench multibench_three multibench_films perspective_size perspective_size_all perspective_batch perspective_samples perspective_optimiser perspective_losses perspective_digits perspective_digits_settings perspective_drifters
# Where an item's sweeps and reports are not called as itself; and what of its learning curves is collected.
SWEEPS_figure5 := figure5a figure5b figure5c
SWEEPS_figure6 := figure6ab figure6cd
SWEEPS_figure6_longer := figure6ab_longer figure6cd_longer
SWEEPS_views := views3 views4
SWEEPS_table1 := table1 table1_symmetric
REPORTS_table1 := table1a table1b table1_worlds table1_directions table1_symmetric
REPORTS_table4 := table4b
REPORTS_figure5 := figure5a figure5b figure5c
REPORTS_figure5c_plain := figure5c
REPORTS_figure6 := figure6a figure6b figure6c figure6d
REPORTS_views := views3 views4
REPORTS_spectrum := spectrum spectrum_size
REPORTS_figure3 := figure3_image figure3_text figure7b
REPORTS_figure11 := figure11_image figure11_text
REPORTS_figure10a := figure10_image1 figure10_image2
REPORTS_figure10a_longer := $(REPORTS_figure10a)
REPORTS_figure10a_cooler := $(REPORTS_figure10a)
REPORTS_figure10b := $(REPORTS_figure10a)
SWEEPS_comm_trifeature := comm_trifeature comm_trifeature_supervised
REPORTS_comm_trifeature := comm_trifeature_figure comm_trifeature comm_trifeature_decomposition comm_trifeature_bits comm_trifeature_projected
REPORTS_multibench := multibench multibench_position
REPORTS_comm_images := comm_images_figure comm_images comm_images_decomposition comm_images_bits
REPORTS_comm_digits := comm_digits comm_digits_decomposition comm_digits_bits
REPORTS_comm_bias := comm_bias comm_bias_texture comm_bias_rank
REPORTS_comm_fusion := comm_fusion comm_fusion_decomposition
SWEEPS_comm_images := comm_images comm_images_untrained
REPORTS_perspective_size_all := perspective_size
SWEEPS_perspective_losses := perspective_losses perspective_distance
CURVES_figure6 := loss
CURVES_perspective_drifters := $(foreach part,test train,$(foreach way,path_to_flow flow_to_path,$(part)_$(way)_recall_at_1 $(part)_$(way)_recall_at_5))

.DEFAULT_GOAL := help
.PHONY: $(ITEMS) perspective_plane help setup run test test-slow test-browser-deps test-slurm lint bench lock clean

help:  ## this list
	@grep -E '^[a-z_$$()A-Z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^\$$\(ITEMS\)/ITEM/; s/:.*## /\t/' | expand -t 20
	@echo "ITEM: $(ITEMS)"

setup: $(STAMP)  ## make .venv and install the versions in requirements.lock (UV=1: with uv)

# The lock is a constraints file: exact versions, of which each platform installs what it needs.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; name a newer one: make setup PYTHON=python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if [ -n "$(UV)" ]; then \
		VIRTUAL_ENV=$(VENV) uv pip install --compile-bytecode -c requirements.lock -e '.[dev]'; \
	else $(BIN)/python -m pip install --disable-pip-version-check -q -c requirements.lock -e '.[dev]'; fi
	@touch $@

run: $(STAMP)  ## train and evaluate one run: make run [EXPERIMENT=numerical/quick] [SEED=0]
	$(BIN)/python train.py experiment=$(EXPERIMENT) seed=$(SEED)

# docs/reproduce.md. The same command again goes on where it was stopped.
$(ITEMS): $(STAMP)  ## an item of a paper, from its runs to its table and figure: make table1 [SCALE=paper] [LAUNCHER=slurm]
	for sweep in $(or $(SWEEPS_$@),$@); do $(BIN)/python train.py -m sweep=$(PAPER)$$sweep hydra/launcher=$(LAUNCHER) || exit; done
	$(BIN)/mmcl collect multirun/$(PAPER)$@ -o results/$(PAPER)$@ $(addprefix --curve ,$(CURVES_$@))
	for report in $(or $(REPORTS_$@),$@); do $(BIN)/mmcl report $$report results/$(PAPER)$@ || exit; done

perspective_plane: $(STAMP)  ## Figures 1 to 6 of Baptista et al. (2025), no run
	$(BIN)/mmcl plane -o results/perspective_plane/report/plane

test: $(STAMP)  ## the fast tests
	$(PYTEST) -n $(JOBS) --dist loadfile

test-slow: $(STAMP)  ## the slow ones: end to end, kill and resume, two processes
	$(PYTEST) -m slow -n $(JOBS) --dist loadfile

test-slurm: $(STAMP)  ## a sweep on a real SLURM, started on this machine (Debian's packages, as root)
	$(BIN)/python -m pytest -q -m slurm

test-browser-deps:  ## Chromium, in which test-slow opens the dashboard; where apt-get may install it
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		{ apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
		{ echo "error: no Chromium, and apt-get could not install it; install chromium as your system does"; exit 1; }

lint: $(STAMP)  ## ruff, and mypy over the pure rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)  ## speed and memory, as ratios inside one run, into benchmarks/results.md
	$(BIN)/python benchmarks/run.py

lock: $(STAMP)  ## write the versions of .venv into requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable > requirements.lock

clean:  ## remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache *.egg-info
