# Every target sets up .venv by itself; the first one takes a minute or two.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

TASK ?= quick
NAME ?=
PAPER ?=
AGENTS ?=
PARTS ?=
PROTOCOL ?=
BUDGET ?= quick
UPDATES ?=
ENV_STEPS ?=
SPENT = $(if $(UPDATES),--updates $(UPDATES)) $(if $(ENV_STEPS),--env-steps $(ENV_STEPS))
SOURCE ?= auto
SEEDS ?=
PARALLEL ?=
LAUNCHER ?=
SET ?=
GPUS ?=
DRY_RUN ?=
FINISHED ?=
RESUME_ANYWAY ?=
HOURS ?=
LINES ?=
WHERE = $(if $(FINISHED),--finished) $(if $(RESUME_ANYWAY),--resume-anyway) $(if $(PARALLEL),--parallel $(PARALLEL)) $(if $(LAUNCHER),--launcher '$(LAUNCHER)') $(if $(GPUS),--gpus $(GPUS)) $(if $(DRY_RUN),--dry-run)
# Behaviour policies that recipes roll out; a folder shared/data beside the clone is found by itself.
POLICIES ?= $(or $(MOORL_POLICIES),$(wildcard ../shared/data))

# The fast tests compile for longer than they compute; so it takes XLA 0.6 of the time. At level 0 it would take a third,
# but MOORL learns NaN there. The slow tests are compiled as usual.
# JAX 0.12 does not know the second flag, and stops at it.
XLA_IN_HASTE = --xla_backend_optimization_level=1 $(shell $(BIN)/python -c 'from importlib.metadata import version; print("--xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else "")')

export MOORL_POLICIES := $(abspath $(POLICIES))

.PHONY: help setup bench study tables report evidence regress speed fidelity docs test test-slow format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## create .venv with the library and the developer's tools

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)) and "moorl_jax needs Python 3.11 or 3.12: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,robotics,metaworld,pixels,ogbench,tensorboard,video,onnx,safetensors]'
	touch $@

bench: $(READY)  ## train and print the score table: TASK= (or ENV= DATA=) AGENTS= PROTOCOL= SET='NAME=VALUE ...' SEEDS= BUDGET= UPDATES= ENV_STEPS= SOURCE= POLICIES= NAME= PARALLEL= LAUNCHER= GPUS= FINISHED=1 RESUME_ANYWAY=1 DRY_RUN=1
	@$(BIN)/moorl-jax bench $(if $(ENV)$(DATA),$(if $(ENV),--env '$(ENV)') $(if $(DATA),--data '$(DATA)'),--task '$(TASK)') --agents '$(AGENTS)' --protocol '$(PROTOCOL)' --budget '$(BUDGET)' $(SPENT) --source '$(SOURCE)' $(if $(SEEDS),--seeds $(SEEDS)) $(if $(NAME),--name '$(NAME)') $(foreach change,$(SET),--set '$(change)') $(WHERE)

study: $(READY)  ## run a study and print its table: NAME= TASK= AGENTS= SEEDS= BUDGET= UPDATES= ENV_STEPS= SOURCE= POLICIES= PARALLEL= LAUNCHER= GPUS= FINISHED=1 RESUME_ANYWAY=1 DRY_RUN=1
	@$(BIN)/moorl-jax study '$(NAME)' --budget '$(BUDGET)' $(SPENT) --source '$(SOURCE)' $(if $(filter-out quick,$(TASK)),--task '$(TASK)') $(if $(AGENTS),--agents '$(AGENTS)') $(if $(SEEDS),--seeds $(SEEDS)) $(WHERE)

tables: $(READY)  ## print a paper's tables, its figures beside ours, and write them: PAPER=opt|moorl|corl|vd4rl|ogbench
	@$(BIN)/moorl-jax tables '$(PAPER)'

report: $(READY)  ## write all finished results as one HTML page, results/report.html
	@$(BIN)/moorl-jax report

evidence: $(READY)  ## train the next cells that speak to the papers' claims, write docs/verdicts.md: HOURS= PARALLEL= LINES= POLICIES= FINISHED=1 DRY_RUN=1
	@$(BIN)/python -m benchmarks.evidence $(if $(HOURS),--hours $(HOURS)) $(if $(LINES),--lines '$(LINES)') $(if $(PARALLEL),--parallel $(PARALLEL)) $(if $(FINISHED),--finished) $(if $(DRY_RUN),--dry-run)

regress: $(READY)  ## has learning become worse? train a small pinned set, compare it with the committed runs
	@$(BIN)/python -m benchmarks.regress

speed: $(READY)  ## measure how fast the agents train here, write results/speed: PARTS=offline,online,whole,cost,simulators,start AGENTS=
	@$(BIN)/python -m benchmarks.speed $(if $(PARTS),--parts '$(PARTS)') $(if $(AGENTS),--agents '$(AGENTS)')

fidelity: $(READY)  ## hold every environment against D4RL's, every robot's data too, write docs/fidelity.md and docs/levels.md: POLICIES=
	@$(BIN)/python -m benchmarks.fidelity
	@$(BIN)/python -m benchmarks.levels

docs: $(READY)  ## build the documentation site in build/site, and check every link within it
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

test: $(READY)  ## lint, check types, run the fast tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	XLA_FLAGS='$(XLA_IN_HASTE)' $(BIN)/python -m pytest -n auto --dist worksteal -m 'not slow'

test-slow: $(READY)  ## run the tests that train or generate for longer
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[ray,wandb,notebooks]'
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

format: $(READY)  ## format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove .venv and caches; results and data stay
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
