#!/usr/bin/env bash
# Builds the image over a base of our own making, or over the one that is given:
#
#   image/build.sh [MAJOR [SUITE]]                     15 bookworm (default), 17 trixie, 18 sid
#   BASE_IMAGE=postgres:17-trixie image/build.sh
#
# WALG=folder   where wal-g and walg-daemon-client lie, to have them in the image
# NAME=name     another name for the image than nix-postgres
# FRESH=1       takes today's packages instead of cached layers
# ARCHITECTURE  arm64: an image of another architecture, see image/base.sh
#
# The result is $NAME:dev-<major>-<suite>, for the default also $NAME:dev, for another architecture with its name behind.
set -euo pipefail

refuse() {
	printf 'image/build.sh: %s\n' "$@" >&2
	exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# What the Dockerfile may see. Its modes do not depend on the umask of whoever cloned, so neither do the cached layers.
context=(--create --dereference --exclude=__pycache__ --mode='u=rwX,go=rX' -C "$here/.."
	Dockerfile uv.lock entrypoint conf_templates docs/how-to image/bin image/wheels)

# Here and not in a container, which may know neither this machine's proxy nor its certificates.
python3 "$here/wheels/fetch.py" || refuse "a wheel of uv.lock cannot be fetched, above is why. Needed is files.pythonhosted.org."

if [ -n "${WALG:-}" ]; then
	for program in wal-g walg-daemon-client; do
		[ -x "$WALG/$program" ] || refuse "WALG=$WALG holds no executable $program." \
			"Give the folder with both wal-g and walg-daemon-client (wal-g's source builds both), or leave WALG away."
	done
	context+=(--transform='s,^wal,image/bin/wal,' -C "$(cd "$WALG" && pwd)" wal-g walg-daemon-client)
	archivers='wal-g and pgBackRest'
else
	archivers='pgBackRest only (WALG=folder adds wal-g)'
fi

if [ -z "${BASE_IMAGE:-}" ]; then
	BASE_IMAGE=$("$here/base.sh" "$@")
elif [ $# -gt 0 ]; then
	refuse "BASE_IMAGE=$BASE_IMAGE says already which PostgreSQL it is. Leave \"$*\" away."
fi
name=${NAME:-nix-postgres}
tag=$name:dev-${BASE_IMAGE##*[:/@]}
tags=("$tag")
[ "$BASE_IMAGE" != nix-postgres-base:15-bookworm ] || tags+=("$name:dev")

# Only where there are some, so that elsewhere the image's history does not know of them.
mapfile -t apt < <("$here/apt-options")
options=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
[ ${#apt[@]} -eq 0 ] || options+=(--build-arg "APT_OPTIONS=${apt[*]}")

log=$(mktemp)
trap 'rm -f "$log"' EXIT
printf '%s: building over %s (half a minute the first time)\n' "$tag" "$BASE_IMAGE" >&2
if ! tar "${context[@]}" |
	docker build ${FRESH:+--no-cache} "${options[@]}" "${tags[@]/#/--tag=}" - >"$log" 2>&1; then
	tail -n 40 "$log" >&2
	refuse "docker build failed, above is the end of what it said, so $tag was not built." \
		"Needed are $BASE_IMAGE, here or to be pulled, with PostgreSQL on Debian, and for the first time Debian's archives."
fi
printf '%s: archives with %s, built in %d s\n' "${tags[*]}" "$archivers" "$SECONDS"
