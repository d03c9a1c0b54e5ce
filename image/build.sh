#!/usr/bin/env bash
# Builds the image on a base that image/base.sh builds, or on a given base:
#
#   image/build.sh [MAJOR [SUITE]]                     15 bookworm (default), 17 trixie, 18 sid
#   BASE_IMAGE=postgres:17-trixie image/build.sh
#
# WALG=folder   folder with wal-g and walg-daemon-client, which are added to the image
# NAME=name     name of the image instead of nix-postgres
# FRESH=1       uses today's packages instead of cached layers
# ARCHITECTURE  arm64: an image for another architecture, see image/base.sh
#
# The result is $NAME:dev-<major>-<suite>, followed by the name of another architecture. The default is also $NAME:dev.
set -euo pipefail

refuse() {
	printf 'image/build.sh: %s\n' "$@" >&2
	exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The Dockerfile's context. Its modes do not depend on the umask of the clone, so cached layers do not either.
context=(--create --dereference --exclude=__pycache__ --mode='u=rwX,go=rX' -C "$here/.."
	Dockerfile uv.lock entrypoint conf_templates docs/how-to image/bin image/wheels)

# Fetched here, not in a container, which may lack this machine's proxy and certificates.
python3 "$here/wheels/fetch.py" || refuse "a wheel of uv.lock cannot be fetched; the reason is above. The build needs files.pythonhosted.org."

if [ -n "${WALG:-}" ]; then
	for program in wal-g walg-daemon-client; do
		[ -x "$WALG/$program" ] || refuse "WALG=$WALG contains no executable $program." \
			"Set WALG to a folder with both wal-g and walg-daemon-client (wal-g's source builds both), or unset it."
	done
	context+=(--transform='s,^wal,image/bin/wal,' -C "$(cd "$WALG" && pwd)" wal-g walg-daemon-client)
	archivers='wal-g and pgBackRest'
else
	archivers='pgBackRest only (WALG=folder adds wal-g)'
fi

if [ -z "${BASE_IMAGE:-}" ]; then
	BASE_IMAGE=$("$here/base.sh" "$@")
elif [ $# -gt 0 ]; then
	refuse "BASE_IMAGE=$BASE_IMAGE already determines the version of PostgreSQL. Omit \"$*\"."
fi
name=${NAME:-nix-postgres}
tag=$name:dev-${BASE_IMAGE##*[:/@]}
tags=("$tag")
[ "$BASE_IMAGE" != nix-postgres-base:15-bookworm ] || tags+=("$name:dev")

# Added only if there are options, so that otherwise the image's history does not mention them.
mapfile -t apt < <("$here/apt-options")
options=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
[ ${#apt[@]} -eq 0 ] || options+=(--build-arg "APT_OPTIONS=${apt[*]}")

log=$(mktemp)
trap 'rm -f "$log"' EXIT
printf '%s: building on %s (half a minute the first time)\n' "$tag" "$BASE_IMAGE" >&2
if ! tar "${context[@]}" |
	docker build ${FRESH:+--no-cache} "${options[@]}" "${tags[@]/#/--tag=}" - >"$log" 2>&1; then
	tail -n 40 "$log" >&2
	refuse "docker build failed, so $tag was not built; the end of its output is above." \
		"The build needs $BASE_IMAGE, local or pulled, with PostgreSQL on Debian, and Debian's archives the first time."
fi
printf '%s: archives with %s, built in %d s\n' "${tags[*]}" "$archivers" "$SECONDS"
