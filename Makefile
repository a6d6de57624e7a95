# `make demo` and `make test` each set up everything that they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPILE = $(BIN)/pip-compile --quiet --strip-extras --extra dev --extra docs --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.PHONY: demo test coverage federation lint types contracts docs reference lock bundle-weights wheel clean

demo: $(STAMP)  ## run the whole job on built-in phantoms and say where the report is
	rm -rf demo
	$(BIN)/mu-monai demo --out demo

test: $(STAMP) lint types contracts docs  ## lint, types, import contracts, the documentation, and all tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

coverage: $(STAMP)  ## all tests, a quarter slower, and the lines that none of them reaches
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --cov

federation: $(STAMP)  ## what needs NVFlare: three sites in its simulator, one of which leaves
	$(BIN)/python -m pip install --quiet --requirement requirements-federated.lock
	$(BIN)/python -m pytest tests/workflow/federation/test_simulator.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

docs: $(STAMP)  ## build the documentation into build/site; a dead link or a wrong docstring is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

reference: $(STAMP)  ## write the lists of the reference pages from the code anew
	$(BIN)/python docs/generate/lists.py

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

lock: $(STAMP)  ## resolve pyproject.toml's ranges anew
	$(BIN)/python -m pip install --quiet pip-tools
	# newer torch builds bring gigabytes of CUDA packages; a local build's suffix is not for other machines
	echo "torch==2.13.0" > build-constraints.txt
	$(COMPILE) --constraint build-constraints.txt --output-file requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' requirements.lock && rm build-constraints.txt
	$(COMPILE) --extra federated --constraint requirements.lock --output-file requirements-federated.lock pyproject.toml
	sed -i 's/+cpu$$//' requirements-federated.lock

bundle-weights: $(STAMP)  ## train the bundles' models/model.pt on phantoms
	$(MAKE) weights-chase
	$(MAKE) weights-isic SETTINGS="--max_epochs 80 --learning_rate 0.002"
	$(MAKE) weights-isic_classification
	$(MAKE) weights-volume3d

weights-%: $(STAMP)
	rm -rf runs/$*-teacher
	$(BIN)/python -m monai.bundle run --config_file bundles/$*/configs/train.json $(SETTINGS)
	cp runs/$*-teacher/model.pt bundles/$*/models/model.pt

wheel: $(STAMP)
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist demo runs phantoms report
