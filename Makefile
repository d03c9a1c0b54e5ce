# make image | demo | test | test-long | acceptance | bench | lint | reference | screenshot | docs | s3-server | clean; each target sets up what it needs.
#
#   WALG=folder     folder with wal-g and walg-daemon-client, to include wal-g in the image and in the tests
#   MAJOR, SUITE    for `make image`: 15 bookworm (default), 17 trixie, 18 sid
#   ARCHIVER        for `make demo`: pgbackrest (default) or wal-g
#   TESTED          for `make acceptance`: the image to test, for example TESTED=nix-postgres:17
#   TESTS           for `make test`: the tests that pytest runs, for example TESTS=tests/unit
SHELL = /bin/bash
.SHELLFLAGS = -euo pipefail -c
.DEFAULT_GOAL = help

WALG ?=
MAJOR ?= 15
SUITE ?=
ARCHIVER ?= pgbackrest
TESTED ?=
TESTS ?=
export WALG ARCHIVER

help:
	@sed -n 's/^# \?//p;/^SHELL/q' Makefile

setup:
	@image/setup.sh

# The development tools, pinned by uv.lock.
.venv/synced: uv.lock pyproject.toml .ci/uv.txt
	@python3 -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: --requirement .ci/uv.txt
	@.venv/bin/uv sync --quiet --locked --inexact --no-install-project --group docs
	@touch $@

image: setup
	@image/build.sh $(MAJOR) $(SUITE)

images: setup .venv/synced
	@image/build.sh 15 bookworm
	@image/build.sh 15 trixie
	@image/build.sh 17 trixie
	@image/build.sh 18 sid
	@.venv/bin/python tests/nix_image.py nix-postgres:dev-15-bookworm nix-postgres:dev-15-nix

# Under qemu if this machine has another architecture; there is no wal-g for this image.
arm64-image:
	@ARCHITECTURE=arm64 image/setup.sh
	@ARCHITECTURE=arm64 WALG= image/build.sh 15 bookworm

demo: image
	@demo/run.sh

# Built once per user and kept outside the repository.
s3-server: setup .venv/synced
	@tests/go-tool.sh versitygw >/dev/null

test: images .venv/synced s3-server
	@.venv/bin/python -m pytest -n 2 --dist loadfile -m "not long" $(TESTS)

test-long: images arm64-image .venv/synced s3-server
	@.venv/bin/python -m pytest -n 2 --dist loadfile -m long $(TESTS)

# Tests one image that was built elsewhere.
acceptance: images .venv/synced s3-server
	@[ -n "$(TESTED)" ] || { echo "make acceptance: set the image, as in TESTED=nix-postgres:17" >&2; exit 1; }
	@NIX_POSTGRES_IMAGE=$(TESTED) .venv/bin/python -m pytest -n 2 --dist loadfile -m "not long" tests/acceptance

# Measures starts and stops against the official script, with the default image; takes about ten minutes on a quiet machine.
bench: image .venv/synced
	@.venv/bin/python benchmarks/start.py

lint: setup .venv/synced
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy

# Generates the pages of docs/reference/ that derive from the program.
reference: .venv/synced
	@.venv/bin/python -m docs.reference

# Takes the picture of the status page that the manual shows; needs chromium.
screenshot: setup .venv/synced
	@PYTHONPATH=.:tests .venv/bin/python tests/screenshot.py

# Builds a site in build/site; every warning, including one about an internal link, is an error.
docs: .venv/synced
	@.venv/bin/python -m sphinx --fail-on-warning --keep-going --quiet docs build/site
	@echo "build/site/index.html"

clean:
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help setup image images arm64-image demo s3-server test test-long acceptance bench lint reference screenshot docs clean
