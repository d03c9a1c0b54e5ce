"""What an upgrade has started outlives it, if it was killed in a container that runs on."""

from __future__ import annotations

import containers
from upgrades import ALONE, DATA, EXPECTED, LONG, NEW, OLD, Home

_COPIER = """\
#!/bin/bash
# As pg_upgrade's own copiers, this one does not end together with the one that has started it.
for word; do case $word in --new-datadir=*) cluster=${word#*=} ;; esac; done
case "$*" in *--check*) ;; *)
    if [ ! -e /tmp/once ]; then
        touch /tmp/once
        (trap '' INT TERM; while sleep 0.05; do mkdir -p "$cluster/base"; echo late >>"$cluster/base/late"; done) &
        echo $! >/tmp/copier
        sleep 600
    fi ;;
esac
exec /usr/lib/postgresql/17/bin/pg_upgrade "$@"
"""
_FILES = {"/usr/local/sbin/pg_upgrade": containers.File(_COPIER, 0o755)}
_KILL = """\
for each in /proc/[0-9]*; do
    if tr '\\0' ' ' <$each/cmdline 2>/dev/null | grep -q 'upgrad[e] run'; then kill -9 ${each#/proc/}; exit; fi
done
"""
_LEFT = "processes that an interrupted command has left still use"


def test_nothing_writes_beneath_the_next_upgrade(home: Home) -> None:
    """The next command ends it before it removes and builds anything; in another container, it refuses."""
    run = ("entrypoint", "upgrade", "run")
    options, copier = ("--init", "--entrypoint", "sleep"), "cat /tmp/copier"
    with containers.start(
        "600", env=ALONE, files=_FILES, options=options, volumes=home.volumes, image=NEW
    ) as container:
        containers.docker("exec", "--detach", container.name, *run)
        containers.until(
            lambda: "" != container.exec("sh", "-c", copier, check=False).stdout, "the copier", LONG
        )
        container.exec("bash", "-c", _KILL)
        refused = home.upgrade("run")
        assert 11 == refused.code, refused.output
        assert _LEFT in refused.stderr
        assert _LEFT in containers.run(env={}, volumes=home.volumes, image=OLD, timeout=60).stderr
        again = container.exec(*run, check=False, timeout=LONG)
        assert 0 == again.code, again.output
        assert 0 != container.exec("sh", "-c", f"kill -0 $({copier})", check=False).code
        assert "late" not in container.exec("ls", f"{DATA}/base").stdout
    assert f"17:{EXPECTED}" == home.served()
