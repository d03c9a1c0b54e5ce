"""P11 of table 4.5, section 5.3: a leftover `postmaster.pid`, and the lock on the volume."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import pytest

from containers import (
    File,
    _archive,
    complaints,
    copied_volume,
    create,
    docker,
    in_volume,
    inspect,
    run,
    script,
    serve,
    start,
    until,
    volume,
)

USED = {"PGDATA": "/volume/data"}
TAKEN = 11
STALE = "postmaster.pid is left over from an unclean stop: its pid {} is another process now"

#: The lock file that a killed server leaves behind, except for the process id.
REST = "\n/volume/data\n1700000000\n5432\n/var/run/postgresql\n*\n  5432001    163840\nready   \n"

#: Starts what /case says, leaves a lock file with that process's number, and then becomes the entrypoint.
SHADOW = f"""#!/bin/bash
case $(</case) in
    same-user) setpriv --reuid 999 --regid 999 --clear-groups sleep 300 & pid=$! ;;
    root) sleep 300 & pid=$! ;;
    dead) true & pid=$!; wait ;;
    thread)
        setpriv --reuid 999 --regid 999 --clear-groups /usr/local/lib/nix-postgres/python3 -c '
import sys, threading, time
thread = threading.Thread(target=time.sleep, args=(300,))
thread.start()
print(thread.native_id, file=open("/tmp/thread", "w"), flush=True)
' &
        until [ -s /tmp/thread ]; do sleep 0.01; done
        pid=$(</tmp/thread); rm /tmp/thread ;;
    other-server)
        [ -e /tmp/other/PG_VERSION ] || gosu postgres initdb --no-sync -D /tmp/other > /dev/null
        gosu postgres pg_ctl start --silent --wait -D /tmp/other -o '-p 6000' > /dev/null
        pid=$(head -n 1 /tmp/other/postmaster.pid) ;;
    real-server)
        gosu postgres pg_ctl start --silent --wait -D /volume/data > /dev/null
        exec docker-entrypoint.sh postgres ;;
    emptied)
        gosu postgres pg_ctl start --silent --wait -D /volume/data > /dev/null
        : > /volume/data/postmaster.pid
        exec docker-entrypoint.sh postgres ;;
    *) pid=$(</case) ;;
esac
until [ "$(</proc/$pid/comm)" != setpriv ] 2> /dev/null || [ ! -e /proc/$pid ]; do sleep 0.01; done
cat > /volume/data/postmaster.pid <<END
$pid{REST}END
chown postgres:postgres /volume/data/postmaster.pid
echo "the stale number is $pid"
exec docker-entrypoint.sh postgres
"""

CASES = {
    **dict.fromkeys(("1", "7", "20", "200", "4194303"), None),
    "dead": False,
    "root": True,
    "same-user": True,
    "thread": True,
    "other-server": True,
}
"""Whether the number of each case certainly belongs to another process; None: that depends on the moment."""


def test_p11_stale_number(used_volume: str) -> None:
    """Whatever process has the number now, the server starts unless it is a server of this folder."""
    with create(
        env=USED,
        files={"/shadow.sh": script(SHADOW)},
        volumes={"/volume": used_volume},
        options=("--entrypoint", "/shadow.sh"),
    ) as container:
        for case, alive in CASES.items():
            docker("cp", "-", f"{container.name}:/", stdin=_archive({"/case": case}))
            began = str(int(time.time()))
            container.again()
            assert "42" == container.sql("SELECT answer FROM kept"), case
            log = docker("logs", "--since", began, container.name).output
            found = re.findall("the stale number is ([0-9]+)", log)
            if alive is not None:
                assert alive == (STALE.format(found[-1]) in log), (case, log)
            assert 0 == container.stop(), case


#: Leaves a lock file of the data folder and two of sockets, with the numbers in /case, and becomes the entrypoint.
LOCKS = """#!/bin/bash
read -r data here there < /case
setpriv --reuid 999 --regid 999 --clear-groups sleep 300 & one=$!
setpriv --reuid 999 --regid 999 --clear-groups sleep 300 & two=$!
for pid in $one $two; do until [ "$(</proc/$pid/comm)" = sleep ]; do sleep 0.01; done; done
install -d -o postgres /tmp/sockets
leave() {
    rm -f "$2"
    case $1 in
        none) return ;;
        empty) : > "$2" ;;
        zeros) head -c 40 /dev/zero > "$2" ;;
        one | two) printf '%s\\n' "${!1}" /volume/data 1700000000 5433 "${2%/*}" > "$2" ;;
        *) printf '%s\\n' "$1" /volume/data 1700000000 5433 "${2%/*}" > "$2" ;;
    esac
    chown postgres:postgres "$2"
}
leave $data /volume/data/postmaster.pid
leave $here /var/run/postgresql/.s.PGSQL.5433.lock
leave $there /tmp/sockets/.s.PGSQL.5433.lock
exec docker-entrypoint.sh postgres -c 'unix_socket_directories=/var/run/postgresql, "/tmp/sockets"'
"""


def test_p11_lock_files_of_sockets(used_volume: str) -> None:
    """Whatever numbers are in the lock files of the data folder and of the sockets, even different ones, the server starts."""
    cases = ("one two one", "none 1 two", "two 9 16", "empty zeros one", "zeros one empty")
    with create(
        env={**USED, "PGPORT": "5433"},
        files={"/locks.sh": script(LOCKS)},
        volumes={"/volume": used_volume},
        options=("--entrypoint", "/locks.sh"),
    ) as container:
        for case in cases:
            docker("cp", "-", f"{container.name}:/", stdin=_archive({"/case": f"{case}\n"}))
            container.again()
            assert "42" == container.sql("SELECT answer FROM kept", host="/tmp/sockets"), case
            container.kill()
            container.wait()
        text = container.logs().stderr
    assert "removed /tmp/sockets/.s.PGSQL.5433.lock, left over from an unclean stop" in text


def test_p11_a_shared_folder_of_sockets(used_volume: str) -> None:
    """A running server of another container keeps its socket; the socket of a killed one is in nobody's way."""
    with volume() as sockets, copied_volume(used_volume) as other:
        shared = {"/var/run/postgresql": sockets}
        with serve(env=USED, volumes={"/volume": used_volume, **shared}) as first:
            refused = run(env=USED, volumes={"/volume": other, **shared})
            assert 1 == refused.code
            assert any(
                "is listening at /var/run/postgresql/.s.PGSQL.5432" in text for text in complaints(refused)
            )
            assert "42" == first.sql("SELECT answer FROM kept")
            first.kill()
            first.wait()
        with serve(env=USED, volumes={"/volume": other, **shared}) as second:
            assert "42" == second.sql("SELECT answer FROM kept")


@pytest.mark.parametrize("case", ["real-server", "emptied"])
def test_p11_a_real_server_is_refused(used_volume: str, case: str) -> None:
    """If it really is a server of this folder, the start refuses, and that server keeps running."""
    with start(
        env=USED,
        files={"/shadow.sh": script(SHADOW), "/case": case},
        volumes={"/volume": used_volume},
        options=("--entrypoint", "/shadow.sh"),
    ) as container:
        assert TAKEN == container.wait()
        outcome = container.logs()
    assert any("is already running on /volume/data" in text for text in complaints(outcome))
    assert "received fast shutdown request" not in outcome.output


#: All numbers from 1 to 200, most of them of running processes of the server's user.
SWEEP = f"""
crowd='
import os, time
for _ in range(190):
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
open("/tmp/crowd", "w").close()
time.sleep(60)
'
for number in $(seq 1 200); do
    cat > $PGDATA/postmaster.pid <<END
$number{REST}END
    lock=/var/run/postgresql/.s.PGSQL.5432.lock
    cat > $lock <<END
$((201 - number)){REST}END
    chown 999:999 $PGDATA/postmaster.pid $lock
    rm --force /tmp/crowd /tmp/log
    touch /tmp/log  # or the last one is read
    unshare --pid --fork --mount-proc --kill-child bash -c '
        setpriv --reuid 999 --regid 999 --clear-groups /usr/local/lib/nix-postgres/python3 -ISc "$0" &
        until [ -e /tmp/crowd ]; do sleep 0.01; done
        exec entrypoint postgres
    ' "$crowd" > /tmp/log 2>&1 &
    outer=$!
    until grep -q 'ready to accept connections' /tmp/log; do
        [ -e /proc/$outer ] || {{ echo "$number refused"; cat /tmp/log; break; }}
        sleep 0.02
    done
    kill -INT $(</proc/$outer/task/$outer/children) 2> /dev/null
    wait $outer && echo $number
done
"""


@pytest.mark.long
def test_p11_every_number_from_1_to_200(used_volume: str) -> None:
    """With any number that a restart is likely to see again, the server starts, and stops with 0."""
    outcome = run(
        "-c",
        SWEEP,
        env=USED,
        volumes={"/volume": used_volume},
        options=(
            *("--entrypoint", "bash", "--cap-add", "SYS_ADMIN", "--pids-limit", "1000"),
            *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
        ),
        timeout=400,
    )
    assert [str(number) for number in range(1, 201)] == outcome.stdout.splitlines(), outcome.output[-3000:]


# The lock


def test_p11_lock_names_its_holder(used_volume: str) -> None:
    """The refusal says which container uses the volume, and since when."""
    with serve(env=USED, volumes={"/volume": used_volume}) as first:
        identity = inspect(first.name)["Id"]
        refused = run(env=USED, volumes={"/volume": used_volume})
        assert TAKEN == refused.code
        text = complaints(refused)[0]
        assert f"in use by container {identity[:12]}, since " in text
        found = re.search(r"since (.* UTC)", text)
        assert found, text
        since = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
        began = datetime.fromisoformat(re.sub(r"\.\d*Z", "+00:00", first.state["StartedAt"]))
        assert 0 <= (since - began).total_seconds() <= 5


def test_p11_lock_dies_with_its_holder(used_volume: str) -> None:
    """A holder that is killed keeps nobody out, not even for a moment; its name is no longer shown."""
    with create(env=USED, volumes={"/volume": used_volume}) as first:
        first.begin()
        first.ready()
        first.kill()
        first.wait()
        with serve(env=USED, volumes={"/volume": used_volume}) as second:
            refused = run(env=USED, volumes={"/volume": used_volume})
            assert f"in use by container {inspect(second.name)['Id'][:12]}" in refused.stderr


def test_p11_lock_holds_between_users(used_volume: str) -> None:
    """A second container with another uid, or as root, is refused, and the owner of the files stays."""
    with copied_volume(used_volume) as name:
        in_volume(name, "chown --recursive 4321:4321 .")
        mount = {"/volume": name}
        with serve(env=USED, volumes=mount, options=("--user", "4321:4321")) as first:
            assert TAKEN == run(env=USED, volumes=mount).code
            # A container that may not even list the folder cannot know the reason, but does no harm.
            assert run(env=USED, volumes=mount, options=("--user", "1234:1234")).code in (1, TAKEN)
            assert "" == in_volume(name, "find data ! -uid 4321")
            assert "42" == first.sql("SELECT answer FROM kept")
            assert 0 == first.stop()


def test_p11_lock_outlives_a_failing_start(used_volume: str) -> None:
    """PID 1 holds the lock until the server is gone, even while it stops."""
    with (
        serve(env={**USED, "STOP_SMART_TIMEOUT": "60"}, volumes={"/volume": used_volume}) as first,
        first.session("SELECT pg_sleep(60)"),
    ):
        first.kill("TERM")
        first.says("received smart shutdown request")
        assert TAKEN == run(env=USED, volumes={"/volume": used_volume}).code
        assert 0 == first.stop("INT")
        first.again()


def test_p11_a_number_that_a_helper_gets(used_volume: str) -> None:
    """A helper that starts next to the server may have the number of the server that was killed."""
    beside = {"/docker-entrypoint-startdb.d/1.sh": "sleep 1\n"}
    with serve(env=USED, files=beside, volumes={"/volume": used_volume}) as container:
        for _ in range(10):  # the moment decides who gets the number
            container.kill()
            container.wait()
            container.again()
        assert "42" == container.sql("SELECT answer FROM kept")


def test_p11_leftover_of_a_killed_container(used_volume: str) -> None:
    """The leftovers of `docker kill` are recognized as stale, even with the same numbers in the next life."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        before = container.postmaster()
        for _ in range(3):
            container.kill()
            container.wait()
            container.again()
            assert "42" == container.sql("SELECT answer FROM kept")
        assert before < 100
        until(lambda: container.exec("entrypoint", "ready", check=False).code == 0, "ready")


def test_p11_empty_leftover(used_volume: str) -> None:
    """A server that is killed between creating and filling its lock file keeps nobody out."""
    empty = {"/volume/data/postmaster.pid": File(b"", 0o600, 999)}
    with serve(env=USED, volumes={"/volume": used_volume}, files=empty) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
        assert "removed an empty postmaster.pid" in container.logs().stderr


def test_p11_unreadable_leftover(used_volume: str) -> None:
    """A lock file that is not text is left to the server, which reports what is wrong with it."""
    with create(
        env=USED,
        volumes={"/volume": used_volume},
        files={"/volume/data/postmaster.pid": File(b"\xff\xfe\x00", 0o600, 999)},
    ) as container:
        outcome = container.finish()
    assert 1 == outcome.code
    assert "Traceback" not in outcome.output
    assert "postmaster.pid" in outcome.output
