#!/usr/bin/env bash
# Sees to it that this machine has what the build and the tests need, and a container engine that answers.
# As root on Debian or Ubuntu it installs and starts what is missing; elsewhere it says what that is and exits with 1.
# Silent when everything is there. With BASE_IMAGE set no base is made, so the tools for that are not asked for.
# With ARCHITECTURE=arm64 it also sees to it that this machine runs programs of that architecture, by qemu.
set -euo pipefail

say() {
	printf 'image/setup.sh: %s\n' "$@" >&2
}

refuse() {
	say "$@"
	exit 1
}

engine_answers() {
	command -v docker >/dev/null && timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

wanted=()
need() { # program, package
	command -v "$1" >/dev/null || wanted+=("$2")
}

need git git
need make make
need python3 python3
need openssl openssl       # the certificate of the tests' S3 server
need shellcheck shellcheck # reads the shell scripts in the tests
docker compose version >/dev/null 2>&1 || need docker-compose docker-compose # runs an example
need nix-build nix-bin # evaluates the flake in the tests
need patchelf patchelf # makes the tests' image with the tree of the Nix image
python3 -c 'import ensurepip' 2>/dev/null || wanted+=(python3-venv)
[ -s /etc/ssl/certs/ca-certificates.crt ] || [ ! -e /etc/debian_version ] || wanted+=(ca-certificates)
if [ -z "${BASE_IMAGE:-}" ]; then
	need mmdebstrap mmdebstrap
	[ -s /usr/share/keyrings/debian-archive-keyring.gpg ] || wanted+=(debian-archive-keyring)
fi

# The kernel must know the emulator of a foreign architecture.
emulator=known
if [ -n "${ARCHITECTURE:-}" ] && [ "$ARCHITECTURE" != "$(dpkg --print-architecture)" ]; then
	case $ARCHITECTURE in
	arm64) emulator=qemu-aarch64 ;;
	amd64) emulator=qemu-x86_64 ;;
	*) refuse "ARCHITECTURE=$ARCHITECTURE is not known here; it can be amd64 or arm64." ;;
	esac
	need "$emulator-static" qemu-user-static
	need arch-test arch-test # by which mmdebstrap sees that it works
	[ ! -e "/proc/sys/fs/binfmt_misc/$emulator" ] || emulator=known
fi

engine=answers
if ! engine_answers; then
	engine=silent
	if [ -n "${DOCKER_HOST:-}" ]; then
		refuse "no container engine answers at DOCKER_HOST=$DOCKER_HOST. Mend: start it, or unset DOCKER_HOST to use one of this machine."
	fi
	need dockerd docker.io
	# Debian 13 has the client in a package of its own, which docker.io only recommends
	need docker docker-cli
	# without its parser dockerd starts, but no container does
	if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then
		need apparmor_parser apparmor
	fi
fi

[ "$engine" = silent ] || [ "$emulator" != known ] || [ ${#wanted[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	[ ${#wanted[@]} -eq 0 ] || say "missing here, by the names of Debian's packages: ${wanted[*]}."
	if ! command -v apt-get >/dev/null; then
		refuse "Mend: install what is missing (docker.io is Docker's engine), start the engine, and come again." \
			"mmdebstrap is not asked for with BASE_IMAGE set, as in BASE_IMAGE=postgres:17-trixie, where that image can be pulled."
	elif [ ${#wanted[@]} -gt 0 ]; then
		refuse "Mend: sudo ${ARCHITECTURE:+ARCHITECTURE=$ARCHITECTURE }image/setup.sh"
	elif [ "$emulator" != known ]; then
		refuse "the kernel does not know $emulator. Mend: sudo ARCHITECTURE=$ARCHITECTURE image/setup.sh"
	elif [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
		refuse "Docker's engine is for root and the group docker, and $(id -un) is neither." \
			"Mend: sudo usermod -aG docker $(id -un), then log in again."
	fi
	refuse "no container engine answers. Mend: sudo image/setup.sh, or start the one you use."
fi

if [ ${#wanted[@]} -gt 0 ]; then
	say "installing ${wanted[*]}"
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	# a machine's foreign sources may fail; what counts is whether the packages can be had
	apt-get update >"$log" 2>&1 || true
	if ! apt-cache show docker-cli >/dev/null 2>&1; then
		wanted=("${wanted[@]/#docker-cli/docker.io}")
	fi
	# a fresh machine may be busy with its own updates, so the lock is waited for
	if ! apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "${wanted[@]}" >>"$log" 2>&1; then
		tail -n 20 "$log" >&2
		refuse "apt-get could not install ${wanted[*]}; above is the end of what it said, all of it is in $log." \
			"Needed are the network and the machine's Debian or Ubuntu sources in /etc/apt."
	fi
	rm -f "$log"
fi

# Where systemd runs, the package has done it.
if [ "$emulator" != known ] && [ ! -e "/proc/sys/fs/binfmt_misc/$emulator" ]; then
	[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
	cat "/usr/lib/binfmt.d/$emulator.conf" >/proc/sys/fs/binfmt_misc/register
fi

! engine_answers || exit 0

if [ -d /run/systemd/system ] && systemctl start docker 2>/dev/null && engine_answers; then
	exit 0
fi

# no systemd, as in most containers and small machines
LOG=/var/log/dockerd.log
say "starting dockerd (its log: $LOG)"
setsid dockerd >>"$LOG" 2>&1 </dev/null &
for _ in {1..120}; do
	! engine_answers || exit 0
	kill -0 $! 2>/dev/null || break
	sleep 0.5
done
sleep 2
! engine_answers || exit 0
tail -n 15 "$LOG" >&2
refuse "dockerd does not answer; above is the end of its log ($LOG)." \
	"It needs root with all capabilities, cgroups and iptables, so in a container that container must be --privileged."
