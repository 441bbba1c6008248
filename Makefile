PYTHON ?= python3
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE := # where it is set, every process of the tests compiles every module again

.DEFAULT_GOAL := help
.PHONY: help setup run test check data leaderboard report docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## install everything, pinned, into .venv (every other target does so too; instant when nothing changed)
	@$(PYTHON) bootstrap.py

run: setup ## train Prototypical Networks, test 5-way 1-shot, print it beside the published number
	$(BIN)/fewshot run --model proto --way 5 --shot 1 $(ARGS)

test: setup ## run the whole test suite (ARGS="-k word" for a part)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal $(ARGS)

check: setup ## lint, formatting, types
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

data: setup ## fetch Omniglot
	$(BIN)/fewshot data get omniglot

leaderboard: setup ## write the tables in results/ anew; DATASET=strokes RECIPE=smoke trains and ranks every model
	$(BIN)/fewshot leaderboard $(if $(DATASET),--dataset $(DATASET) --recipe $(or $(RECIPE),smoke),--write) $(ARGS)

report: setup ## write results/report.html anew from the records in results/
	$(BIN)/fewshot report --write

docs: setup ## build the site into build/site, offline: every notebook is executed, every link checked
	$(BIN)/sphinx-build -c docs -W --keep-going -q -j auto $(ARGS) . build/site

clean: ## remove .venv and all caches of tools; data, runs and results stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
