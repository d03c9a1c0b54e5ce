#!/usr/bin/env bash
# Makes an image like the official Debian image of PostgreSQL, less its scripts and gosu, from Debian's packages alone:
# for machines that cannot pull it, and for tests, which want to know what they run on.
#
#   image/base.sh [MAJOR [SUITE]]        15 bookworm (default), 17 trixie, 18 sid, or an older PostgreSQL on a newer suite
#
# FRESH=1             makes it again, with today's packages; without, it is made again only when this file has changed
# ARCHITECTURE=arm64  makes one for another architecture, by qemu; image/setup.sh with the same variable sets that up
#
# The result is nix-postgres-base:<major>-<suite>, with -<architecture> where that was given, and this name is printed.
set -euo pipefail

refuse() {
	printf 'image/base.sh: %s\n' "$@" >&2
	exit 1
}

MAJOR=${1:-15}
declare -A home_of=([15]=bookworm [17]=trixie [18]=sid) newest_of=([bookworm]=15 [trixie]=17 [sid]=18)
HOME_SUITE=${home_of[$MAJOR]:-}
SUITE=${2:-$HOME_SUITE}
if [ -z "$HOME_SUITE" ] || [ "$MAJOR" -gt "${newest_of[$SUITE]:-0}" ]; then
	refuse "PostgreSQL \"$MAJOR\" on \"${SUITE:-a suite of Debian}\" is not known here. Debian has 15 in bookworm, 17 in trixie and 18 in sid;" \
		"an older one can be had on a newer suite, as in: image/base.sh 15 trixie"
fi
TAG=nix-postgres-base:$MAJOR-$SUITE${ARCHITECTURE:+-$ARCHITECTURE}

RECIPE=$(sha256sum "${BASH_SOURCE[0]}" | cut -d ' ' -f 1)
made_by=$(docker image inspect --format '{{index .Config.Labels "recipe"}}' "$TAG" 2>/dev/null || true)
if [ "$made_by" = "$RECIPE" ] && [ -z "${FRESH:-}" ]; then
	printf '%s\n' "$TAG"
	exit
fi
docker version >/dev/null || refuse "no container engine answers. Mend: image/setup.sh"

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
if ! command -v mmdebstrap >/dev/null || [ ! -s $KEYRING ]; then
	refuse "mmdebstrap or Debian's keys ($KEYRING) are missing. Mend: image/setup.sh"
fi

if [ "$MAJOR" -ge 18 ]; then
	# 18 moved the data one level down, and the volume one level up (docker-library/postgres#1259)
	PGDATA=/var/lib/postgresql/$MAJOR/docker
	VOLUME=/var/lib/postgresql
else
	PGDATA=/var/lib/postgresql/data
	VOLUME=$PGDATA
fi

# The archives that the image's apt goes on using, security updates among them.
archives() {
	local suites="$1 $1-updates"
	[ "$1" != sid ] || suites=sid
	printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian' "Suites: $suites" \
		'Components: main' "Signed-By: $KEYRING" ''
	[ "$1" != sid ] || return 0
	printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian-security' "Suites: $1-security" \
		'Components: main' "Signed-By: $KEYRING" ''
}

# Runs in the new root while it holds the essential packages only: what later packages must find and not make themselves.
before() {
	# The number is on everybody's volumes. "!" is a locked password; it moves to /etc/shadow when there is one.
	printf 'postgres:!:999:999::/var/lib/postgresql:/bin/bash\n' >>/etc/passwd
	printf 'postgres:!:999:\n' >>/etc/group
	install -d -o 999 -g 999 -m 1777 /var/lib/postgresql

	mkdir -p /etc/postgresql-common/createcluster.d
	printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.d/image.conf
	printf 'en_US.UTF-8 UTF-8\n' >/etc/locale.gen
}

# Runs in the new root when all packages are installed.
after() {
	local versioned=/usr/share/postgresql/$MAJOR/postgresql.conf.sample shared=/usr/share/postgresql/postgresql.conf.sample
	# diverted, so that an upgrade of the package leaves the link and the edit alone
	dpkg-divert --quiet --add --rename --divert "$shared.dpkg" "$versioned"
	sed -E "s/^#?listen_addresses = '[^']*'/listen_addresses = '*'/" "$shared.dpkg" >"$shared"
	grep -q "^listen_addresses = '\*'" "$shared"
	ln -s ../postgresql.conf.sample "$versioned"

	mkdir /docker-entrypoint-initdb.d
	install -d -o postgres -g postgres -m 3777 /var/run/postgresql
	[ "$MAJOR" -ge 18 ] || install -d -o postgres -g postgres -m 1777 "$PGDATA"

	# no init system runs in a container, so an installed package must not start its service
	printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
	chmod 755 /usr/sbin/policy-rc.d
	# what apt-get keeps would stay in a layer of every image that is made from this one
	cat >/etc/apt/apt.conf.d/90image <<-'APT'
		Acquire::Languages "none";
		APT::Keep-Downloaded-Packages "false";
		Dir::Cache::pkgcache "";
		Dir::Cache::srcpkgcache "";
	APT
	rm -f /var/cache/apt/*.bin /etc/resolv.conf /etc/hostname
	# what only this build's apt was told (apt-options): an image that kept it would take old indexes for ever
	rm -f /etc/apt/apt.conf.d/99mmdebstrap
	# ssl-cert has given its certificate the name of the machine that builds
	find /etc/ssl/certs -lname ssl-cert-snakeoil.pem -delete
	install -D -m 755 /dev/stdin /tmp/bin/hostname <<<$'#!/bin/sh\necho localhost'
	PATH=/tmp/bin:$PATH make-ssl-cert generate-default-snakeoil --force-overwrite
	rm -r /tmp/bin
	# messages of the system's own tools, but not the server's, of which a cluster can speak any (lc_messages)
	find /usr/share/locale -name '*.mo' ! -name "*-$MAJOR.mo" -delete

	# what shows later, on somebody's volume, is asserted now
	[ "$(id -u postgres):$(id -g postgres)" = 999:999 ]
	[ -z "$(ls -A /etc/postgresql)" ]
	grep -q '^postgres:!:' /etc/shadow
	locale -a | grep -qx en_US.utf8
	[ -e "/usr/lib/postgresql/$MAJOR/lib/llvmjit.so" ]
}

packages=("postgresql-$MAJOR" locales tzdata ca-certificates gnupg less xz-utils zstd gzip libnss-wrapper)
[ "$MAJOR" -lt 18 ] || packages+=("postgresql-$MAJOR-jit")
# there the server's packages want one of systemd's tools, and without these two they take all of systemd
[ "$SUITE" != sid ] || packages+=(systemd-standalone-sysusers systemd-standalone-tmpfiles)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

archives "$SUITE" >"$work/debian.sources"
[ "$SUITE" = "$HOME_SUITE" ] || archives "$HOME_SUITE" >>"$work/debian.sources"
"$(dirname "${BASH_SOURCE[0]}")/apt-options" | sed 's/^-o \(.*\)=\(.*\)$/\1 "\2";/' >"$work/apt.conf"

export MAJOR PGDATA
BEFORE="set -euo pipefail; $(declare -f before); before"
AFTER="set -euo pipefail; $(declare -f after); after"
export BEFORE AFTER

# Prints nothing as long as the command works.
quietly() {
	"$@" >>"$work/log" 2>&1 && return
	tail -n 40 "$work/log" >&2
	refuse "$1 failed, above is the end of what it said, so $TAG was not made." \
		"Needed are deb.debian.org, a suite that has PostgreSQL $MAJOR, 2 GB free in ${TMPDIR:-/tmp}, and the right to make namespaces or root."
}

printf '%s: made from Debian packages, which takes about a minute\n' "$TAG" >&2
# shellcheck disable=SC2016  # the hooks are expanded by mmdebstrap's shell
quietly mmdebstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
	${ARCHITECTURE:+"--architectures=$ARCHITECTURE"} \
	--aptopt="$work/apt.conf" \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/info/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--essential-hook='chroot "$1" bash -c "$BEFORE"' \
	--customize-hook='chroot "$1" bash -c "$AFTER"' \
	--skip=cleanup/run \
	"$SUITE" "$work/root.tar" "$work/debian.sources"

PG_VERSION=$(tar -xOf "$work/root.tar" ./var/lib/dpkg/status |
	awk -v name="postgresql-$MAJOR" '$1 == "Package:" { found = $2 == name } found && $1 == "Version:" { print $2 }')

quietly docker import "$work/root.tar" "$TAG-root"
# a build, since an import cannot set the stop signal
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
