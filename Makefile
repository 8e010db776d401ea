# Every command of the project; `make` alone lists them. Needs GNU make and Python 3.11 or newer.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-print-directory

# ---------------------------------------------------------------------------------------------------------------
# Settings, each as NAME=value after make
PROFILE ?= cpu#      what to run: cpu (the default; has committed records), smoke (live, on a subset) or gpu
SEEDS ?=#            seeds an arm, where the profile's own number shall not hold
CLAIM ?=#            only the runs of this claim, such as relu-speed, or CLAIM=a,b of several
FRESH ?=#            1: ignore the committed records
DATA ?=#             folder for data sets and weights; by default the user's cache folder, shared by all clones
LOCAL ?=#            folder with a copy of the data sets, tried before any download
WORKERS ?=#          runs trained, notebooks executed, or images decoded, by so many processes side by side
MINUTES ?=#          start no new run after so many minutes; the next make runs goes on
SCHEDULER ?=#        address of a dask scheduler that trains the runs
IMAGENET ?=#         folder with train/CLASS/*.jpg and val/CLASS/*.jpg, for make imagenet
WEIGHTS ?=#          with make imagenet: torchvision, or a file of its weights; evaluates them and trains nothing
EPOCHS ?=#           with make imagenet: train at most so many epochs
PROCESSES ?=#        with make imagenet: processes that share each batch; by default one for each GPU
RESULTS ?=#          with make imagenet: folder for what comes out, by default reports/imagenet
IMAGE ?=#            an image file, for make predict
CHECKPOINT ?=#       with make checkpoint and make predict: the trained network's file, by default checkpoints/cifar10.safetensors
DATASET ?=#          with make checkpoint: cifar10 (the default) or mnist
OUT ?=#              with make predict: the picture to write (.png, .svg or .pdf), by default build/prediction.png
PYTHON ?=#           interpreter that makes .venv; by default the first python3 found that is new enough
UPGRADE ?=#          1 with make lock: take the newest versions pyproject.toml admits

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
PROFILES := cpu smoke gpu
profile := $(strip $(PROFILE))
ifneq ($(words $(profile))-$(filter $(PROFILES),$(profile)),1-$(profile))
$(error PROFILE=$(profile) is not a profile; use one of: $(PROFILES))
endif
ifneq ($(filter imagenet,$(MAKECMDGOALS)),)
ifeq ($(strip $(IMAGENET)),)
$(error Name the images: make imagenet IMAGENET=folder, which holds train/CLASS/*.jpg and val/CLASS/*.jpg)
endif
endif
ifneq ($(filter predict,$(MAKECMDGOALS)),)
ifeq ($(strip $(IMAGE)),)
$(error Name the image: make predict IMAGE=cat.jpg)
endif
endif

VENV := .venv
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python
ALEXNET := $(RUN) -m alexnet
on = $(filter-out 0 no false,$(strip $(1)))
absolute = $(if $(filter /%,$(firstword $(1))),$(1),$(CURDIR)/$(1))

# This clone's library, even where .venv was copied along from another clone.
export PYTHONPATH := $(CURDIR)/lib
export PIP_DISABLE_PIP_VERSION_CHECK := 1
ifneq ($(strip $(DATA)),)
export ALEXNET_DATA := $(call absolute,$(strip $(DATA)))
endif
ifneq ($(strip $(LOCAL)),)
export ALEXNET_LOCAL := $(call absolute,$(strip $(LOCAL)))
endif

option = $(if $(strip $(2)),$(1) $(strip $(2)))
choice = --profile $(profile) $(call option,--seeds,$(SEEDS)) $(if $(call on,$(FRESH)),--fresh)
labour = $(if $(strip $(CLAIM)),--claim $(strip $(CLAIM))) $(call option,--workers,$(WORKERS)) $(call option,--minutes,$(MINUTES)) \
	$(call option,--scheduler,$(SCHEDULER))
training = $(call option,--weights,$(WEIGHTS)) $(call option,--epochs,$(EPOCHS)) $(call option,--processes,$(PROCESSES)) \
	$(call option,--workers,$(WORKERS)) $(if $(strip $(RESULTS)),--results "$(strip $(RESULTS))")

# ---------------------------------------------------------------------------------------------------------------
.PHONY: report test runs precision audit checkpoint predict imagenet lab bench data notebooks lint unit smoke notebooks-check lock clean help

report: $(STAMP) ## Build the HTML report from the run records; trains what is missing, after saying how long it takes
	@$(ALEXNET) report $(choice) $(call option,--workers,$(WORKERS))

test: $(STAMP) ## Check everything: style, types, unit tests, every notebook's output, and the whole smoke report
	@summary=; failed=0; \
	for step in lint data unit smoke; do \
		printf '\n== make %s\n' "$$step"; \
		start=$$(date +%s); \
		if $(MAKE) "$$step"; then outcome=passed; else outcome=FAILED; failed=1; fi; \
		summary="$$summary$$(printf '%-16s %-7s %4d s' "$$step" "$$outcome" $$(($$(date +%s) - start)))|"; \
	done; \
	printf '\n== make test\n'; printf '%s' "$$summary" | tr '|' '\n'; \
	exit $$failed

runs: $(STAMP) ## Make the run records the profile still lacks; resumes where it was stopped
	@$(ALEXNET) runs $(choice) $(labour)

precision: $(STAMP) ## Repeat some runs in float32, and say whether bfloat16 moves results
	@$(ALEXNET) precision --profile $(profile) $(call option,--workers,$(WORKERS)) $(call option,--minutes,$(MINUTES))

audit: $(STAMP) ## Prove that the committed records belong to this code: recompute their probes, retrain a few
	@$(ALEXNET) audit --profile $(profile) $(if $(strip $(MINUTES)),--minutes $(strip $(MINUTES)))

checkpoint: $(STAMP) ## Train the 32-pixel AlexNet and keep its weights, for make predict (15 minutes; resumes where it was stopped)
	@$(ALEXNET) train $(call option,--dataset,$(DATASET)) $(if $(strip $(CHECKPOINT)),--out "$(strip $(CHECKPOINT))")

predict: $(STAMP) ## Show an image of yours to the trained network: its classes, their probabilities, and a picture
	@$(ALEXNET) predict "$(strip $(IMAGE))" $(if $(strip $(CHECKPOINT)),--checkpoint "$(strip $(CHECKPOINT))") \
		--out "$(or $(strip $(OUT)),build/prediction.png)"

imagenet: $(STAMP) ## Train AlexNet on ImageNet, or a folder like it, on all GPUs; evaluate with one and ten crops
	@$(ALEXNET) imagenet "$(call absolute,$(strip $(IMAGENET)))" $(training)

lab: $(STAMP) ## Open the notebooks in JupyterLab, paired with their .py sources
	@$(RUN) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

bench: $(STAMP) ## Measure speed, exactness and memory on this machine against a plain loop (9 minutes)
	@$(ALEXNET) bench

data: $(STAMP) ## Fetch and verify the data sets, and say which source answered
	@$(ALEXNET) data

notebooks: $(STAMP) ## Execute notebooks/*.py and write the paired .ipynb
	@$(ALEXNET) notebooks $(call option,--workers,$(WORKERS))

lint: $(STAMP) ## Check style (ruff) and types (mypy)
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy

# Each file's tests stay together, because they share what they prepare, and the longest files come first (conftest.py);
# a process more takes a gigabyte.
unit: $(STAMP) ## Run the tests alone (pytest), in two processes side by side
	@$(RUN) -m pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder

smoke: $(STAMP) data ## Build the whole report of the smoke profile, its runs made live, in build/smoke
	@$(MAKE) report PROFILE=smoke

notebooks-check: $(STAMP) data ## Only the notebooks: execute each and compare every output with the committed one, strictly
	@$(RUN) -m pytest --quiet tests/test_notebooks.py -k committed_notebook

# CUDA packages are left out: the CPU build of torch wants none, and the CUDA build pins its own exactly.
lock: $(RUN) ## Pin all dependencies anew from pyproject.toml; UPGRADE=1 takes newer versions
	@$(RUN) -m pip install --quiet uv
	@mkdir -p build && cp requirements.lock build/requirements.lock 2>/dev/null || true
	@$(RUN) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--extra test --extra dev --no-header --no-annotate $(if $(call on,$(UPGRADE)),--upgrade) \
		--output-file build/requirements.lock pyproject.toml
	@{ echo "# Every dependency, pinned; written by make lock from pyproject.toml. Install with pip."; \
		echo "# The CUDA packages are missing on purpose: torch's own build pins the ones it needs."; \
		grep -vE '^(nvidia-|cuda-|triton=)' build/requirements.lock | sed 's/+cpu//'; } > build/requirements.new
	@mv build/requirements.new requirements.lock

clean: ## Remove build/, checkpoints and caches; keeps .venv, the data sets and the committed records
	@rm -rf build checkpoints .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache lib/*.egg-info
	@find lib tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

help: ## Show this list
	@echo "make TARGET [NAME=value ...]"
	@echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'
	@echo
	@sed -nE 's/^([A-Z]+) [?]=[^#]*# *(.*)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

# ---------------------------------------------------------------------------------------------------------------
# .venv is made when missing, and brought up to date when the lock file or pyproject.toml changed. The stamp is
# written last, so that an installation that failed is taken up again by the next make. Only torch, whose builds need
# different CUDA packages, looks for what it depends on; the lock file names all the rest, which halves the time.
$(STAMP): requirements.lock pyproject.toml $(RUN)
	@rm -f $@
	@echo "Installing the pinned dependencies into $(VENV); the first time takes some minutes."
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip --upgrade
	@test -t 1 || quiet="--quiet --quiet"; \
	install="$(RUN) -m pip install $$quiet --no-compile"; \
	$$install --constraint requirements.lock torch && \
	$$install --no-deps --requirement requirements.lock && \
	$$install --no-deps --no-build-isolation --editable . || { \
		echo "make: the installation failed, see above; make again takes it up where it stopped." >&2; exit 1; }
	@touch $@

$(RUN):
	@chosen=; \
	for candidate in $(if $(strip $(PYTHON)),"$(strip $(PYTHON))",$(PYTHONS)); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			chosen="$$candidate"; break; \
		fi; \
	done; \
	if [ -z "$$chosen" ]; then \
		echo "make: Python 3.11 or newer is needed; tried $(if $(strip $(PYTHON)),$(PYTHON),$(PYTHONS))." \
			"Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
		exit 1; \
	fi; \
	rm -rf $(VENV); \
	"$$chosen" -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "make: $$chosen cannot make a virtual environment." \
			"On Debian and Ubuntu: apt-get install python3-venv. Then make again." >&2; \
		exit 1; \
	}
