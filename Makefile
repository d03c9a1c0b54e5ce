# make image | demo | test | test-long | acceptance | ready | bench | lint | reference | screenshot | docs | s3-server | clean; each target sets up what it needs.
#
#   WALG=folder     folder with wal-g and walg-daemon-client, to include wal-g in the image and in the tests
#   MAJOR, SUITE    for `make image`: 17 trixie (default), 15 bookworm, 15 trixie, 18 sid, 19 experimental (image/majors.json)
#   UPGRADE_FROM    for `make image`: older majors whose clusters the image can upgrade, for example UPGRADE_FROM="15 17"
#   HA=yes          for `make image`: also the image with Patroni, nix-postgres:dev-ha (docs/how-to/fail-over.md)
#   ARCHIVER        for `make demo`: pgbackrest (default) or wal-g
#   TESTED          for `make acceptance`: the image to test, for example TESTED=nix-postgres:17; for `make ready`: one of
#                   nix/ready.json, for example TESTED=nix-postgres:17-postgis
#   TESTS           for `make test` and `make acceptance`: the tests that pytest runs, for example TESTS=tests/unit
SHELL = /bin/bash
.SHELLFLAGS = -euo pipefail -c
.DEFAULT_GOAL = help

WALG ?=
HA ?=
MAJOR ?=
SUITE ?=
UPGRADE_FROM ?=
ARCHIVER ?= pgbackrest
TESTED ?=
TESTS ?=
export WALG HA ARCHIVER

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
	@UPGRADE_FROM="$(UPGRADE_FROM)" image/build.sh $(MAJOR) $(SUITE)

images: setup .venv/synced
	@HA= image/build.sh all
	@.venv/bin/python tests/nix_image.py nix-postgres-base:17-trixie nix-postgres:dev-17-nix

# Images that upgrade to the other majors, for the long tests.
upgrade-images: images
	@HA= UPGRADE_FROM="15 17" image/build.sh 18 sid
	@HA= UPGRADE_FROM="15 18" image/build.sh 19 experimental || echo "left out: upgrades to 19, a preview; the reason is above" >&2

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

test-long: upgrade-images arm64-image .venv/synced s3-server
	@.venv/bin/python -m pytest -n 2 --dist loadfile -m long $(TESTS)

# Tests one image that was built elsewhere.
acceptance: images .venv/synced s3-server
	@[ -n "$(TESTED)" ] || { echo "make acceptance: set the image, as in TESTED=nix-postgres:17" >&2; exit 1; }
	@NIX_POSTGRES_IMAGE=$(TESTED) .venv/bin/python -m pytest -n 2 --dist loadfile -m "not long" $(or $(TESTS),tests/acceptance)

# Tests one image of nix/ready.json, which is that of its major with extensions and needs no other image next to it.
ready: setup .venv/synced
	@[ -n "$(TESTED)" ] || { echo "make ready: set the image, as in TESTED=nix-postgres:17-postgis" >&2; exit 1; }
	@NIX_POSTGRES_IMAGE=$(TESTED) .venv/bin/python -m pytest tests/acceptance/test_ready_images.py

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

.PHONY: help setup image images upgrade-images arm64-image demo s3-server test test-long acceptance ready bench lint reference screenshot docs clean
