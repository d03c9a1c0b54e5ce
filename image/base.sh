#!/usr/bin/env bash
# Builds an image like the official Debian image of PostgreSQL, without its scripts and gosu, from Debian's packages only.
# It is for machines that cannot pull the official image, and for tests, which need a known base.
#
#   image/base.sh [MAJOR [SUITE]]        one of image/majors.json: 17 trixie (default), 15 bookworm, 15 trixie, 18 sid, 19 experimental
#
# FRESH=1             rebuilds it with today's packages; otherwise it is rebuilt only if this file has changed
# ARCHITECTURE=arm64  builds it for another architecture, with qemu; image/setup.sh with the same variable sets qemu up
#
# The script builds and prints nix-postgres-base:<major>-<suite>, followed by -<architecture> if that variable is set.
set -euo pipefail

refuse() {
	printf 'image/base.sh: %s\n' "$@" >&2
	exit 1
}

here=$(dirname "${BASH_SOURCE[0]}")
supported=$("$here/majors.py")
MAJOR=${1:-$(awk '$3 == "default" { print $1 }' <<<"$supported")}
HOME_SUITE=$(awk -v major="$MAJOR" '$1 == major { print $2; exit }' <<<"$supported")
SUITE=${2:-$HOME_SUITE}
if [ -z "$HOME_SUITE" ] || ! grep -q "^$MAJOR $SUITE " <<<"$supported"; then
	refuse "PostgreSQL \"$MAJOR\" on \"${SUITE:-a suite of Debian}\" is not supported. image/majors.json has:" \
		"$(cut -d ' ' -f 1,2 <<<"$supported" | paste -sd , | sed 's/,/, /g')"
fi
TAG=nix-postgres-base:$MAJOR-$SUITE${ARCHITECTURE:+-$ARCHITECTURE}

RECIPE=$(sha256sum "${BASH_SOURCE[0]}" | cut -d ' ' -f 1)
made_by=$(docker image inspect --format '{{index .Config.Labels "recipe"}}' "$TAG" 2>/dev/null || true)
if [ "$made_by" = "$RECIPE" ] && [ -z "${FRESH:-}" ]; then
	printf '%s\n' "$TAG"
	exit
fi
docker version >/dev/null || refuse "no container engine answers. Fix: image/setup.sh"

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
if ! command -v mmdebstrap >/dev/null || [ ! -s $KEYRING ]; then
	refuse "mmdebstrap or Debian's keys ($KEYRING) are missing. Fix: image/setup.sh"
fi

if [ "$MAJOR" -ge 18 ]; then
	# 18 moved the data one level down, and the volume one level up (docker-library/postgres#1259)
	PGDATA=/var/lib/postgresql/$MAJOR/docker
	VOLUME=/var/lib/postgresql
else
	PGDATA=/var/lib/postgresql/data
	VOLUME=$PGDATA
fi

# The archives that the image's apt keeps using, including security updates.
archives() {
	local suites="$1 $1-updates"
	[ "$1" != sid ] || suites=sid
	[ "$1" != experimental ] || suites='sid experimental'
	printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian' "Suites: $suites" \
		'Components: main' "Signed-By: $KEYRING" ''
	[ "${suites%% *}" != sid ] || return 0
	printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian-security' "Suites: $1-security" \
		'Components: main' "Signed-By: $KEYRING" ''
}

# Runs in the new root when only the essential packages are installed: creates what later packages must find.
before() {
	# Existing volumes use this uid. "!" is a locked password; it moves to /etc/shadow once that file exists.
	printf 'postgres:!:999:999::/var/lib/postgresql:/bin/bash\n' >>/etc/passwd
	printf 'postgres:!:999:\n' >>/etc/group
	install -d -o 999 -g 999 -m 1777 /var/lib/postgresql

	mkdir -p /etc/postgresql-common/createcluster.d
	printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.d/image.conf
	printf 'en_US.UTF-8 UTF-8\n' >/etc/locale.gen
}

# Runs in the new root after all packages are installed.
after() {
	local versioned=/usr/share/postgresql/$MAJOR/postgresql.conf.sample shared=/usr/share/postgresql/postgresql.conf.sample
	# diverted, so that an upgrade of the package does not change the link and the edited file
	dpkg-divert --quiet --add --rename --divert "$shared.dpkg" "$versioned"
	sed -E "s/^#?listen_addresses = '[^']*'/listen_addresses = '*'/" "$shared.dpkg" >"$shared"
	grep -q "^listen_addresses = '\*'" "$shared"
	ln -s ../postgresql.conf.sample "$versioned"

	mkdir /docker-entrypoint-initdb.d
	install -d -o postgres -g postgres -m 3777 /var/run/postgresql
	[ "$MAJOR" -ge 18 ] || install -d -o postgres -g postgres -m 1777 "$PGDATA"

	# a container has no init system, so an installed package must not start its service
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	# files that apt-get keeps would stay in a layer of every image built on this one
	cat >/etc/apt/apt.conf.d/90image <<-'APT'
		Acquire::Languages "none";
		APT::Keep-Downloaded-Packages "false";
		Dir::Cache::pkgcache "";
		Dir::Cache::srcpkgcache "";
	APT
	rm -f /var/cache/apt/*.bin /etc/resolv.conf /etc/hostname
	# the options of this build's apt (apt-options): an image with these would accept old indexes forever
	rm -f /etc/apt/apt.conf.d/99mmdebstrap
	# ssl-cert has put the name of the build machine into its certificate
	find /etc/ssl/certs -lname ssl-cert-snakeoil.pem -delete
	install -D -m 755 /dev/stdin /tmp/bin/hostname <<<$'#!/bin/sh\necho localhost'
	PATH=/tmp/bin:$PATH make-ssl-cert generate-default-snakeoil --force-overwrite
	rm -r /tmp/bin
	# translations for the system's tools, but not for the server, since a cluster can use any language (lc_messages)
	find /usr/share/locale -name '*.mo' ! -name "*-$MAJOR.mo" -delete

	# check now what would otherwise fail later, on somebody's volume
	[ "$(id -u postgres):$(id -g postgres)" = 999:999 ]
	[ -z "$(ls -A /etc/postgresql)" ]
	grep -q '^postgres:!:' /etc/shadow
	locale -a | grep -qx en_US.utf8
	[ -e "/usr/lib/postgresql/$MAJOR/lib/llvmjit.so" ]
}

packages=("postgresql-$MAJOR" locales tzdata ca-certificates gnupg less xz-utils zstd gzip libnss-wrapper)
[ "$MAJOR" -lt 18 ] || packages+=("postgresql-$MAJOR-jit")
# in sid the server's packages need a tool of systemd; without these two packages they install all of systemd
[[ $SUITE != sid && $SUITE != experimental ]] || packages+=(systemd-standalone-sysusers systemd-standalone-tmpfiles)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

archives "$SUITE" >"$work/debian.sources"
[ "$SUITE" = "$HOME_SUITE" ] || archives "$HOME_SUITE" >>"$work/debian.sources"
"$here/apt-options" | sed 's/^-o \(.*\)=\(.*\)$/\1 "\2";/' >"$work/apt.conf"

# experimental is not a whole suite: of its packages only those of the server are wanted, and the rest is sid's
preferences=()
if [ "$SUITE" = experimental ]; then
	printf '%s\n' "Package: postgresql-$MAJOR* postgresql-client-$MAJOR libpq5" 'Pin: release a=experimental' 'Pin-Priority: 500' >"$work/preferences"
	preferences=("--setup-hook=copy-in $work/preferences /etc/apt/preferences.d/")
fi

export MAJOR PGDATA
BEFORE="set -euo pipefail; $(declare -f before); before"
AFTER="set -euo pipefail; $(declare -f after); after"
export BEFORE AFTER

# Prints nothing unless the command fails.
quietly() {
	"$@" >>"$work/log" 2>&1 && return
	tail -n 40 "$work/log" >&2
	refuse "$1 failed, so $TAG was not built; the end of its output is above." \
		"The build needs deb.debian.org, a suite with PostgreSQL $MAJOR, 2 GB free in ${TMPDIR:-/tmp}, and root or the right to create namespaces."
}

printf '%s: building from Debian packages, which takes about a minute\n' "$TAG" >&2
# shellcheck disable=SC2016  # mmdebstrap's shell expands the hooks
quietly mmdebstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
	${ARCHITECTURE:+"--architectures=$ARCHITECTURE"} \
	--aptopt="$work/apt.conf" \
	${preferences[@]:+"${preferences[@]}"} \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--essential-hook='chroot "$1" bash -c "$BEFORE"' \
	--customize-hook='chroot "$1" bash -c "$AFTER"' \
	--skip=cleanup/run \
	"${SUITE/experimental/sid}" "$work/root.tar" "$work/debian.sources"

PG_VERSION=$(tar -xOf "$work/root.tar" ./var/lib/dpkg/status |
	awk -v name="postgresql-$MAJOR" '$1 == "Package:" { found = $2 == name } found && $1 == "Version:" { print $2 }')

quietly docker import "$work/root.tar" "$TAG-root"
# a separate build, since an import cannot set the stop signal
quietly docker build --tag "$TAG" - <<-DOCKERFILE
	FROM $TAG-root
	ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/$MAJOR/bin
	ENV LANG=en_US.utf8 PG_MAJOR=$MAJOR PG_VERSION=$PG_VERSION PGDATA=$PGDATA
	LABEL recipe=$RECIPE
	VOLUME $VOLUME
	EXPOSE 5432
	STOPSIGNAL SIGINT
	CMD ["postgres"]
DOCKERFILE
quietly docker image rm "$TAG-root"
printf '%s\n' "$TAG"
