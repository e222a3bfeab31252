# `make demo` and `make test` set themselves up; they need Python 3.11, make and the package registries.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PARTS := edge train export firmware_bridge
# The engine of the light install, an extra of pyproject.toml. pip only warns about an extra that does not exist.
ENGINE ?= onnx
EDGE := $(VENV)/.edge-$(ENGINE)

.PHONY: demo test test-fast test-c test-arm64 check bench bench-guard bench-pi fuzz generate model coverage clean rescore study-check

demo: $(EDGE)
	$(BIN)/ccnvr demo

# A module's tests stay on one worker, where they share what the module trains.
PYTEST := -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev
	$(BIN)/python $(PYTEST)

# The protocols, chemometrics, readers, store and daemon, in under a minute on 2 cores. Nothing is trained here, so
# workers may take tests from each other; they are three because half of the time goes by in waiting for instruments.
test-fast: $(VENV)/.dev
	$(BIN)/python $(PYTEST) --numprocesses 3 --dist worksteal -m "not slow" tests/firmware_bridge tests/edge tests/test_house.py

# The C reference of the link: every warning and sanitizer, vectors, fuzz corpus, branches. Needs gcc alone.
test-c:
	$(MAKE) --no-print-directory -C firmware_bridge/c test BUILD=$(CURDIR)/build/c

# So many damaged frames for the link's codec and for each of the other instruments', and libFuzzer on the C parser and device
# for so many seconds each.
fuzz: FRAMES ?= 10000000
fuzz: SECONDS_EACH ?= 300
fuzz: $(EDGE)
	$(BIN)/python -m tools.fuzz_frames --frames $(FRAMES)
	$(BIN)/python -m tools.fuzz_codecs --frames $(FRAMES)
	$(MAKE) --no-print-directory -C firmware_bridge/c fuzz BUILD=$(CURDIR)/build/c SECONDS_EACH=$(SECONDS_EACH)

# Rewrites what follows from firmware_bridge/link.toml (constants, messages, C, vectors, the specification's tables) and the
# command-line reference, which follows from the argument parsers of all extras.
generate: $(VENV)/.dev
	$(BIN)/python -m ccnvr.firmware_bridge.schema.generate
	$(BIN)/python -m tools.cli_reference

# On emulated Raspberry Pis, fetched once into .arm64 (700 MB); needs a Debian host and names the packages that it lacks.
# ARM64=cable, answers or counts runs that part alone.
test-arm64: $(VENV)/.dev
	$(BIN)/python -m tools.arm64.run $(ARM64)

coverage: $(VENV)/.dev
	$(BIN)/coverage erase
	$(BIN)/coverage run $(PYTEST)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --sort=cover

check: $(VENV)/.dev .ns
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy tests tools examples benchmarks
	$(BIN)/lint-imports
	$(BIN)/python -m ccnvr.firmware_bridge.schema.generate --check
	$(BIN)/python -m tools.cli_reference --check

# Side by side with what others would use, in four minutes. BENCH=--help lists its options; `ccnvr bench` is the small
# comparison of engines that anyone has who installed ccnvr.
bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.run $(BENCH)

# For anyone with a real Raspberry Pi: writes bench-pi.json, to be sent in with the issue form. The light install suffices;
# ENGINE=tflite is for a 32-bit system.
bench-pi: $(EDGE)
	$(BIN)/python -m benchmarks.pi $(PI)

# The instructions of one scan beside those on record, by valgrind; GUARD=--record writes those of this computer.
bench-guard: $(VENV)/.dev
	$(BIN)/python -m benchmarks.guard $(GUARD)

# Rebuilds the bundles that come with the package, by tools/family.toml; MODELS="asd nir" names some of them. A bundle that is
# up to date is left alone, so that the same command goes on after an interruption. CCNVR_DATA names the folder of the libraries.
model: $(VENV)/.dev
	$(BIN)/python -m tools.family $(MODELS)

# After a change of the way from a spectrum to its prediction: the figures of the kept bundles beside those on record, in
# half a minute. RESCORE=--page writes docs/accuracy-check.md; CCNVR_DATA names the folder of the libraries.
rescore: $(VENV)/.dev
	$(BIN)/python -m tools.rescore $(RESCORE)

# Trains the study's single network from nothing and prints its R2 on nirsoil's official test part; under 5 minutes on a core.
study-check: $(VENV)/.dev
	@$(BIN)/ccnvr experiment check

clean:
	rm -rf $(VENV) .ns build dist *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# The light edge install. LimeSoDa comes without pandas and scikit-learn: only its data files are read.
$(EDGE): pyproject.toml constraints.txt | $(BIN)/python
	$(if $(filter onnx litert tflite,$(ENGINE)),,$(error ENGINE=$(ENGINE) is not one of onnx, litert, tflite))
	@echo "setting up the light edge install in $(VENV), once"
	$(PIP) install --constraint constraints.txt --editable '.[$(ENGINE)]'
	$(PIP) install --constraint constraints.txt --no-deps LimeSoDa
	touch $@

$(VENV)/.dev: $(EDGE)
	@echo "adding the development extras to $(VENV), once; torch takes a while"
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	command -v npm > /dev/null && npm install --silent --no-audit --no-fund --prefix $(VENV)/axe axe-core@4.14.1 || true
	touch $@

# mypy reads the namespace package through these links.
.ns:
	mkdir -p .ns/ccnvr
	$(foreach part,$(PARTS),ln -sfn ../../$(part) .ns/ccnvr/$(part);)
