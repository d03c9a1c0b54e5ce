#!/usr/bin/env bash
# Builds the image on a base that image/base.sh builds, or on a given base:
#
#   image/build.sh [MAJOR [SUITE]]                     one of image/majors.json: 17 trixie (default), 15 bookworm, 15 trixie, 18 sid, 19 experimental
#   image/build.sh all                                 all of them, and the default with the programs of the oldest to upgrade
#                                                      from; a preview that Debian does not offer today is left out
#   BASE_IMAGE=postgres:17-trixie image/build.sh
#
# WALG=folder   folder with wal-g and walg-daemon-client, which are added to the image
# UPGRADE_FROM="15 17"  adds the programs of these older majors, so that the image can upgrade their clusters
# HA=yes        also builds the same image with Patroni, whose tag ends with -ha; needs trixie or newer
# NAME=name     name of the image instead of nix-postgres
# FRESH=1       uses today's packages instead of cached layers
# ARCHITECTURE  arm64: an image for another architecture, see image/base.sh
#
# The result is $NAME:dev-<major>-<suite>, followed by -upgrade if UPGRADE_FROM is set, and by the name of another architecture.
# The default is also $NAME:dev.
set -euo pipefail

refuse() {
	printf 'image/build.sh: %s\n' "$@" >&2
	exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
supported=$("$here/majors.py")
# Fetched here, not in a container, which may lack this machine's proxy and certificates.
python3 "$here/wheels/fetch.py" || refuse "a wheel of uv.lock cannot be fetched; the reason is above. The build needs files.pythonhosted.org."

if [ "${1:-}" = all ]; then
	# shellcheck disable=SC2016  # for the shell that xargs starts
	each='[ "$3" != upgrade ] || export UPGRADE_FROM="$4"
		"$0" "$1" "$2" && exit
		[ "$3" = preview ] || exit 1
		printf "%s: left out: %s, a preview; the reason is above. Its tests are left out as well.\n" "$0" "$1-$2" >&2'
	# two at once, since a build waits for the network and for the disk half of its time
	upgrade=$(awk '$3 == "default" { print $1, $2 }' <<<"$supported")" upgrade $(sort -n <<<"$supported" | awk 'NR == 1 { print $1 }')"
	xargs --max-procs=2 --max-lines=1 bash -c "$each" "$0" <<<"$supported
$upgrade"
	HA=yes "$0"
	exit
fi

# Prints the suites that have the older majors; a base that somebody gives has the sources of all majors, or its own.
older_suites() {
	local each suite newest=${1:-$(awk '$3 == "default" { print $1 }' <<<"$supported")}
	for each in ${UPGRADE_FROM:-}; do
		suite=$(awk -v major="$each" '$1 == major { print $2; exit }' <<<"$supported")
		if [ -z "$suite" ] || [ "$each" -ge "$newest" ]; then
			refuse "UPGRADE_FROM=\"$UPGRADE_FROM\": no package of PostgreSQL \"$each\" can be upgraded to $newest." \
				"Give majors of image/majors.json that are older than $newest, for example UPGRADE_FROM=15"
		fi
		[ "$suite" = sid ] || printf '%s ' "$suite" # the base of a newer major has sid's own
	done
}

# The Dockerfile's context. Its modes do not depend on the umask of the clone, so cached layers do not either.
context=(--create --dereference --exclude=__pycache__ --mode='u=rwX,go=rX' -C "$here/.."
	Dockerfile uv.lock entrypoint conf_templates docs/how-to image/bin image/trim.py image/wheels)

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

older=
if [ -z "${BASE_IMAGE:-}" ]; then
	older=$(older_suites "${1:-}")
	BASE_IMAGE=$("$here/base.sh" "$@")
elif [ $# -gt 0 ]; then
	refuse "BASE_IMAGE=$BASE_IMAGE already determines the version of PostgreSQL. Omit \"$*\"."
fi
name=${NAME:-nix-postgres}
tag=$name:dev-${BASE_IMAGE##*[:/@]}${UPGRADE_FROM:+-upgrade}
tags=("$tag")
[ -n "${UPGRADE_FROM:-}" ] || [ "$BASE_IMAGE" != "nix-postgres-base:$(awk '$3 == "default" { print $1 "-" $2 }' <<<"$supported")" ] ||
	tags+=("$name:dev")

# Added only if there are options, so that otherwise the image's history does not mention them.
mapfile -t apt < <("$here/apt-options")
options=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
[ -z "${UPGRADE_FROM:-}" ] || options+=(--build-arg "UPGRADE_FROM=$UPGRADE_FROM" --build-arg "UPGRADE_SUITES=$older")
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
[ -n "${HA:-}" ] || exit 0

with_patroni=("$tag-ha")
[ ${#tags[@]} -eq 1 ] || with_patroni+=("$name:dev-ha")
options[1]=BASE_IMAGE=$tag
if ! docker build ${FRESH:+--no-cache} "${options[@]}" "${with_patroni[@]/#/--tag=}" - <"$here/ha.Dockerfile" >"$log" 2>&1; then
	tail -n 40 "$log" >&2
	refuse "docker build failed, so $tag-ha was not built; the end of its output is above." \
		"It needs Debian's archives, and Patroni 4 there: trixie or newer (make image HA=yes MAJOR=17)."
fi
printf '%s: with Patroni\n' "${with_patroni[*]}"
