#!/usr/bin/env bash
# Makes sure that this machine has everything that the build and the tests need, and a container engine that answers.
# As root on Debian or Ubuntu, it installs and starts what is missing; elsewhere it prints what is missing and exits with 1.
# It prints nothing if everything is there. If BASE_IMAGE is set, no base is built, so the tools for that are not required.
# With ARCHITECTURE=arm64, it also makes sure that this machine can run programs of that architecture, with qemu.
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

PATH=$PATH:/usr/sbin:/sbin # where mkfs is, also for those who do not have it there
wanted=()
need() { # program, package
	command -v "$1" >/dev/null || wanted+=("$2")
}

need git git
need make make
need python3 python3
need openssl openssl       # makes the certificate of the tests' S3 server
need shellcheck shellcheck # checks the shell scripts in the tests
docker compose version >/dev/null 2>&1 || need docker-compose docker-compose # runs an example
need mkfs.ext4 e2fsprogs # these three make the small filesystems that the tests fill
need mkfs.xfs xfsprogs
need mkfs.btrfs btrfs-progs
need nix-build nix-bin # evaluates the flake in the tests
need patchelf patchelf # says which libraries a program needs, to measure the images
need promtool prometheus # scrapes a container in the tests, and evaluates the alert rules
# Shows the status page in the tests. Where it is no package, as on Ubuntu, these tests are left out without a browser.
if ! command -v chromium-headless-shell chromium google-chrome >/dev/null && grep -qx ID=debian /etc/os-release; then
	wanted+=(chromium-headless-shell)
fi
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
	*) refuse "ARCHITECTURE=$ARCHITECTURE is not supported; use amd64 or arm64." ;;
	esac
	need "$emulator-static" qemu-user-static
	need arch-test arch-test # mmdebstrap uses it to check that the emulator works
	[ ! -e "/proc/sys/fs/binfmt_misc/$emulator" ] || emulator=known
fi

engine=answers
if ! engine_answers; then
	engine=silent
	if [ -n "${DOCKER_HOST:-}" ]; then
		refuse "no container engine answers at DOCKER_HOST=$DOCKER_HOST. Fix: start it, or unset DOCKER_HOST to use this machine's engine."
	fi
	need dockerd docker.io
	# Debian 13 has the client in a separate package, which docker.io only recommends
	need docker docker-cli
	# without AppArmor's parser dockerd starts, but no container does
	if [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" = Y ]; then
		need apparmor_parser apparmor
	fi
fi

[ "$engine" = silent ] || [ "$emulator" != known ] || [ ${#wanted[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	[ ${#wanted[@]} -eq 0 ] || say "missing on this machine (names of Debian packages): ${wanted[*]}."
	if ! command -v apt-get >/dev/null; then
		refuse "Fix: install what is missing (docker.io is Docker's engine), start the engine, and run this script again." \
			"mmdebstrap is not required if BASE_IMAGE is set, as in BASE_IMAGE=postgres:17-trixie, and that image can be pulled."
	elif [ ${#wanted[@]} -gt 0 ]; then
		refuse "Fix: sudo ${ARCHITECTURE:+ARCHITECTURE=$ARCHITECTURE }image/setup.sh"
	elif [ "$emulator" != known ]; then
		refuse "the kernel does not know $emulator. Fix: sudo ARCHITECTURE=$ARCHITECTURE image/setup.sh"
	elif [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
		refuse "only root and the group docker can use Docker's engine, and $(id -un) is neither." \
			"Fix: sudo usermod -aG docker $(id -un), then log in again."
	fi
	refuse "no container engine answers. Fix: sudo image/setup.sh, or start the engine that you use."
fi

if [ ${#wanted[@]} -gt 0 ]; then
	say "installing ${wanted[*]}"
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	# the tests start their own Prometheus
	if [[ " ${wanted[*]} " = *" prometheus "* ]] && [ -d /run/systemd/system ]; then
		systemctl mask --quiet prometheus
	fi
	# third-party sources may fail; it only matters whether the packages can be installed
	apt-get update >"$log" 2>&1 || true
	if ! apt-cache show docker-cli >/dev/null 2>&1; then
		wanted=("${wanted[@]/#docker-cli/docker.io}")
	fi
	# a fresh machine may be busy with its own updates, so wait for the lock
	if ! apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "${wanted[@]}" >>"$log" 2>&1; then
		tail -n 20 "$log" >&2
		refuse "apt-get could not install ${wanted[*]}; the end of its output is above, the whole output is in $log." \
			"The installation needs the network and this machine's Debian or Ubuntu sources in /etc/apt."
	fi
	rm -f "$log"
fi

# If systemd is running, the package has already done this.
if [ "$emulator" != known ] && [ ! -e "/proc/sys/fs/binfmt_misc/$emulator" ]; then
	[ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
	cat "/usr/lib/binfmt.d/$emulator.conf" >/proc/sys/fs/binfmt_misc/register
fi

! engine_answers || exit 0

if [ -d /run/systemd/system ] && systemctl start docker 2>/dev/null && engine_answers; then
	exit 0
fi

# most containers and small machines run no systemd
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
refuse "dockerd does not answer; the end of its log ($LOG) is above." \
	"It needs root with all capabilities, cgroups and iptables, so a container that runs it must be --privileged."
