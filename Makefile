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
FRESH ?=#            yes or 1: ignore the committed records
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
OUT ?=#              with make predict: the picture to write, by default build/prediction.png; with make bundle: its folder
RECORDS ?=#          with make runs: the records.tar.gz that came back from a bundle, to be taken in
PYTHON ?=#           interpreter that makes .venv; by default the first python3 found that is new enough
UPGRADE ?=#          yes or 1, with make lock: take the newest versions pyproject.toml admits

# A value is handed on as it was typed: nothing in a name is for make or for the shell to read.
settings := $(shell sed -nE 's/^([A-Z]+) [?]=.*/\1/p' Makefile)
typed := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
unexport $(filter $(settings),$(typed))
given = $(strip $(value $(1)))
quote = '$(subst ','\'',$(1))'
option = $(if $(call given,$(2)),$(1)=$(call quote,$(value $(2))))
absolute = $(if $(filter /% ~%,$(firstword $(value $(1)))),,$(CURDIR)/)$(value $(1))
switch = $(or $(shell case "$$(printf %s $(call quote,$(call given,$(1))) | tr '[:upper:]' '[:lower:]')" in \
	(1|yes|true|on) echo yes;; (0|no|false|off|'') echo no;; esac),$(error $(1)=$(value $(1)) is neither yes nor no))

ifneq ($(filter-out $(settings) SHELL,$(typed)),)
$(error There is no setting $(filter-out $(settings) SHELL,$(typed)); use one of: $(settings))
endif
define newline


endef
$(foreach name,$(settings),$(if $(findstring $(newline),$(value $(name))),$(error $(name) holds a line break, which make cannot hand on)))
PROFILES := cpu smoke gpu
profile := $(call given,PROFILE)
ifneq ($(words $(profile))-$(filter $(PROFILES),$(profile)),1-$(profile))
$(error PROFILE=$(profile) is not a profile; use one of: $(PROFILES))
endif
fresh := $(filter yes,$(call switch,FRESH))
upgrade := $(filter yes,$(call switch,UPGRADE))
lacks = $(and $(filter $(1),$(MAKECMDGOALS)),$(if $(call given,$(2)),,yes))
ifneq ($(call lacks,imagenet,IMAGENET),)
$(error Name the images: make imagenet IMAGENET=folder, which holds train/CLASS/*.jpg and val/CLASS/*.jpg)
endif
ifneq ($(call lacks,predict,IMAGE),)
$(error Name the image: make predict IMAGE=cat.jpg)
endif

PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
VENV := .venv
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python
ALEXNET := $(RUN) -m alexnet
INSTALL := $(RUN) -P lib/installation.py

# Python is what the lock file names, whatever the user's own Python is told; this clone's library, even where .venv was
# copied along from another clone; and files are read as they were written, in UTF-8. Containers often forbid bytecode;
# then each process would compile torch, fastai and all others anew, for seconds.
unexport $(filter-out PYTHON PYTHONPYCACHEPREFIX PYTHONUNBUFFERED,$(filter PYTHON%,$(.VARIABLES)))
export PYTHONPATH := $(CURDIR)/lib
export PYTHONUTF8 := 1
ifneq ($(call given,DATA),)
export ALEXNET_DATA := $(call absolute,DATA)
endif
ifneq ($(call given,LOCAL),)
export ALEXNET_LOCAL := $(call absolute,LOCAL)
endif

choice = --profile=$(profile) $(call option,--seeds,SEEDS) $(if $(fresh),--fresh)
labour = $(call option,--workers,WORKERS) $(call option,--minutes,MINUTES)
train = runs $(choice) $(labour) $(call option,--claim,CLAIM) $(call option,--scheduler,SCHEDULER)
receive = receive --profile=$(profile) $(call quote,$(call absolute,RECORDS))

# ---------------------------------------------------------------------------------------------------------------
.PHONY: report test runs bundle precision audit checkpoint predict imagenet lab bench data notebooks lint unit smoke notebooks-check lock clean help

report: $(STAMP) ## Build the HTML report from the run records; trains what is missing where that takes minutes
	@$(ALEXNET) report $(choice) $(call option,--workers,WORKERS)

# The smoke report is built beside the other steps, which alone would leave the processors idle at times, and shown last.
test: $(STAMP) ## Check everything: style, types, unit tests, every notebook's output, and the whole smoke report
	@mkdir -p build; log=build/test-smoke.log; started=$$(date +%s); summary=; failed=0; \
	ended() { summary="$$summary$$(printf '%-16s %-7s %s' "$$@")|"; [ "$$2" = passed ] || failed=1; }; \
	step() { \
		printf '\n== make %s\n' "$$1"; \
		begun=$$(date +%s); \
		if $(MAKE) "$$1"; then outcome=passed; else outcome=FAILED; fi; \
		ended "$$1" $$outcome "$$(($$(date +%s) - begun)) s"; \
	}; \
	step data; \
	$(ALEXNET) report --profile=smoke $(call option,--workers,WORKERS) >$$log 2>&1 & smoke=$$!; \
	trap 'kill $$smoke; exit 130' INT TERM; \
	step lint; \
	step unit; \
	printf '\n== make smoke\n'; \
	if wait $$smoke; then outcome=passed; else outcome=FAILED; fi; \
	cat $$log; \
	ended smoke $$outcome 'beside them'; \
	printf '\n== make test\n'; printf '%s' "$$summary" | tr '|' '\n'; \
	printf '%-24s %s s\n' 'all' $$(($$(date +%s) - started)); \
	exit $$failed

runs: $(STAMP) ## Make the run records the profile still lacks; resumes where it was stopped
	@$(ALEXNET) $(if $(call given,RECORDS),$(receive),$(train))

bundle: $(STAMP) ## Write all that a machine without a network needs to make the runs, in parts of at most 50 MB
	@$(ALEXNET) bundle --profile=$(profile) $(call option,--claim,CLAIM) $(call option,--out,OUT)

precision: $(STAMP) ## Repeat some runs in float32, and say whether bfloat16 moves results
	@$(ALEXNET) precision --profile=$(profile) $(labour)

audit: $(STAMP) ## Prove that the committed records belong to this code: recompute their probes (with MINUTES=30, retrain some too)
	@$(ALEXNET) audit --profile=$(profile) $(call option,--minutes,MINUTES)

checkpoint: $(STAMP) ## Train the 32-pixel AlexNet and keep its weights, for make predict (15 minutes; resumes where it was stopped)
	@$(ALEXNET) train $(call option,--dataset,DATASET) $(call option,--out,CHECKPOINT)

predict: $(STAMP) ## Show an image of yours to the trained network: its classes, their probabilities, and a picture
	@$(ALEXNET) predict $(call quote,$(call absolute,IMAGE)) $(call option,--checkpoint,CHECKPOINT) \
		$(or $(call option,--out,OUT),--out=build/prediction.png)

imagenet: $(STAMP) ## Train AlexNet on ImageNet, or a folder like it, on all GPUs; evaluate with one and ten crops
	@$(ALEXNET) imagenet $(call quote,$(call absolute,IMAGENET)) $(call option,--weights,WEIGHTS) \
		$(call option,--epochs,EPOCHS) $(call option,--processes,PROCESSES) $(call option,--workers,WORKERS) \
		$(call option,--results,RESULTS)

lab: $(STAMP) ## Open the notebooks in JupyterLab, paired with their .py sources
	@$(RUN) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

bench: $(STAMP) ## Measure speed, exactness and memory on this machine against a plain loop (9 minutes)
	@$(ALEXNET) bench

data: $(STAMP) ## Fetch and verify the data sets, and say which source answered
	@$(ALEXNET) data

notebooks: $(STAMP) ## Execute notebooks/*.py and write the paired .ipynb
	@$(ALEXNET) notebooks $(call option,--workers,WORKERS)

lint: $(STAMP) ## Check style (ruff) and types (mypy)
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy --num-workers 2

# Each file's tests stay together, because they share what they prepare, and the longest files come first (conftest.py);
# a process more takes a gigabyte. They have a thread each: more would wait for each other.
unit: $(STAMP) ## Run the tests alone (pytest), in two processes side by side
	@OMP_NUM_THREADS=1 $(RUN) -m pytest --quiet --numprocesses 2 --dist loadfile --no-loadscope-reorder

smoke: $(STAMP) data ## Build the whole report of the smoke profile, its runs made live, in build/smoke
	@$(MAKE) report PROFILE=smoke

notebooks-check: $(STAMP) data ## Only the notebooks: execute each and compare every output with the committed one, strictly
	@$(RUN) -m pytest --quiet tests/test_notebooks.py -k committed_notebook

# CUDA packages are left out: the CPU build of torch wants none, and the CUDA build pins its own exactly.
lock: $(RUN) ## Pin all dependencies anew from pyproject.toml; UPGRADE=1 takes newer versions
	@$(INSTALL) --quiet uv
	@mkdir -p build && cp requirements.lock build/requirements.lock 2>/dev/null || true
	@$(RUN) -m uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--extra test --extra dev --no-header --no-annotate $(if $(upgrade),--upgrade) \
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
# The library is linked by hand: setuptools, which pip would ask to, stops at a dollar sign in the clone's path.
$(STAMP): requirements.lock pyproject.toml $(RUN)
	@rm -f $@
	@echo "Installing the pinned dependencies into $(VENV); the first time takes some minutes."
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(RUN) -m ensurepip --upgrade
	@test -t 1 || quiet="--quiet --quiet"; \
	install="$(INSTALL) $$quiet --no-compile"; \
	$$install --constraint requirements.lock torch && \
	$$install --no-deps --requirement requirements.lock && \
	$(RUN) -c 'import os, sysconfig; place = sysconfig.get_path("purelib"); \
		open(place + "/alexnet.pth", "w", encoding="utf-8").write(os.path.abspath("lib"))' || { \
		echo "make: the installation failed, see above; make again takes it up where it stopped." >&2; exit 1; }
	@echo "Compiling what was installed; this takes a minute, and saves seconds at every later start."
	@$(RUN) -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib lib || true # some packages hold files that do not compile
	@touch $@

$(RUN):
	@chosen=; \
	named=$(call quote,$(value PYTHON)); \
	case "$$named" in "~/"*) named="$$HOME/$${named#??}";; esac; \
	for candidate in $(if $(call given,PYTHON),"$$named",$(PYTHONS)); do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
			chosen="$$candidate"; break; \
		fi; \
	done; \
	if [ -z "$$chosen" ]; then \
		echo "make: Python 3.11 or newer is needed; tried $${named:-$(PYTHONS)}." \
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
