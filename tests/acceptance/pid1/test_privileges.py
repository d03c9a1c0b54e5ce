"""Root's rights: given up in all our processes, and not needed by users who never had them."""

from __future__ import annotations

import re

import pytest

from containers import (
    FRESH,
    Container,
    Files,
    complaints,
    copied_volume,
    docker,
    in_volume,
    run,
    script,
    serve,
)

USED = {"PGDATA": "/volume/data"}
INIT = "/docker-entrypoint-initdb.d"
CODE = "/usr/local/lib/nix-postgres/entrypoint"
RIGHTS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs")
#: Init files of both kinds, which record their rights.
WITNESSES: Files = {
    f"{INIT}/1.sh": "cat /proc/self/status > /tmp/sourced\n",
    f"{INIT}/2.sh": script("#!/bin/sh\ncat /proc/self/status > /tmp/executed\n"),
    "/usr/local/bin/initdb": script(
        '#!/bin/sh\ncat /proc/self/status > /tmp/initdb\nexec /usr/lib/postgresql/*/bin/initdb "$@"\n'
    ),
}


def _rights(text: str) -> dict[str, str]:
    lines = (line.partition(":") for line in text.splitlines())
    found = {name: value.strip() for name, _, value in lines}
    return {name: found[name] for name in RIGHTS}


def _everybody(container: Container) -> dict[str, dict[str, str]]:
    """The rights of PID 1, the server, its children, the init files and initdb."""
    found = {name: _rights(container.shell(f"cat /tmp/{name}")) for name in ("sourced", "executed", "initdb")}
    server = container.postmaster()
    text = container.shell(f"cat /proc/{server}/task/{server}/children")
    pids = {"PID 1": 1, "server": server, **{f"child {pid}": int(pid) for pid in text.split()}}
    return {
        **found,
        **{name: _rights(container.shell(f"cat /proc/{pid}/status")) for name, pid in pids.items()},
    }


@pytest.mark.parametrize(("env", "forbidden"), [({}, "0"), ({"POSTGRES_NO_NEW_PRIVILEGES": "on"}, "1")])
def test_rights_are_gone_everywhere(env: dict[str, str], forbidden: str) -> None:
    """This covers real, effective and saved ids, groups and capabilities, from initdb to the server's children."""
    with serve(env={**FRESH, **env}, files=WITNESSES) as container:
        everybody = _everybody(container)
        # In Debian's images the server's user may read the keys of ssl-cert as well.
        groups = {"999", *container.shell("getent group ssl-cert | cut -d: -f3").split()}
    assert len(everybody) >= 9
    for name, rights in everybody.items():
        assert ["999"] * 4 == rights["Uid"].split(), name
        assert ["999"] * 4 == rights["Gid"].split(), name
        assert groups == set(rights["Groups"].split()), name
        assert {0} == {int(rights[kind], 16) for kind in RIGHTS if kind.startswith("Cap")}, name
        assert forbidden == rights["NoNewPrivs"], name


def test_setuid_programs_have_no_power(used_volume: str) -> None:
    """With POSTGRES_NO_NEW_PRIVILEGES=on, a setuid program that the server starts stays the server's user."""
    env = {**USED, "POSTGRES_NO_NEW_PRIVILEGES": "on"}
    ask = "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; /volume/id -u > /tmp/seen'"
    for given, expected in ((USED, "0"), (env, "999")):
        with serve(env=given, volumes={"/volume": used_volume}) as container:
            container.shell("cp /usr/bin/id /volume/id; chmod 4755 /volume/id", user="0")
            container.sql(ask)
            assert expected == container.shell("cat /tmp/seen")
            container.stop()


#: A faulty libc: a step of the drop reports success and does nothing.
LIES = {
    "groups": ("os.setgroups(list(identity.groups))", "pass"),
    "gid": ("os.setresgid(identity.gid, identity.gid, identity.gid)", "pass"),
    "uid": ("os.setresuid(identity.uid, identity.uid, identity.uid)", "pass"),
    "saved uid": (
        "os.setresuid(identity.uid, identity.uid, identity.uid)",
        "os.setresuid(identity.uid, identity.uid, 0)",
    ),
}


@pytest.mark.parametrize("step", LIES)
def test_drop_is_verified(step: str) -> None:
    """If a step of the drop has no effect, nothing of the database is started."""
    path = f"{CODE}/system/identity.py"
    source = run(path, options=("--entrypoint", "cat")).stdout
    old, new = LIES[step]
    assert 1 == source.count(old)
    outcome = run(env=FRESH, files={path: source.replace(old, new)})
    assert 1 == outcome.code
    assert any("could not give up root's rights" in text for text in complaints(outcome)) or any(
        "/bin/sh" in text for text in complaints(outcome)
    )
    assert "PostgreSQL init process complete" not in outcome.output


def test_order_of_the_drop() -> None:
    """Groups, then gid, then uid: in another order the kernel would refuse, or worse, rights would remain."""
    path = f"{CODE}/system/identity.py"
    source = run(path, options=("--entrypoint", "cat")).stdout
    for call in ("setgroups", "setresgid", "setresuid"):
        source = source.replace(f"os.{call}(", f"print('did {call}', flush=True) or os.{call}(")
    outcome = run("postgres", "-C", "port", env=FRESH, files={path: source})
    said = [line for line in outcome.stdout.splitlines() if line.startswith("did ")]
    assert ["did setgroups", "did setresgid", "did setresuid"] == said[-3:]


CLOSED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


@pytest.mark.parametrize("run_folder", ["/run", "/var/run/postgresql"])
@pytest.mark.parametrize("user", ["999:999", "4321:4321"])
def test_closed_container(volume: str, user: str, run_folder: str) -> None:
    """Read-only, no capabilities, no new privileges, a known or an unknown uid: first start, stop, start."""
    in_volume(volume, f"chown {user} .")
    uid = user.partition(":")[0]
    options = (
        *CLOSED,
        *("--user", user, "--tmpfs", "/tmp", "--tmpfs", f"{run_folder}:uid={uid},gid={uid},mode=755"),
    )
    with serve(env={**FRESH, **USED}, volumes={"/volume": volume}, options=options) as container:
        assert "1" == container.sql("SELECT 1")
        for pid in (1, container.postmaster()):
            status = container.process(pid)
            assert [uid] * 4 == status["Uid"].split()
            assert ("1", 0) == (status["NoNewPrivs"], int(status["CapEff"], 16))
        assert 0 == container.exec("entrypoint", "ready", check=False).code
        assert 0 == container.stop()
        container.again()
        assert 0 == container.stop("TERM")


@pytest.mark.parametrize(
    ("options", "mounted"),
    [
        (("--user", "999:999"), ()),
        (("--user", "4321:4321"), ()),
        (("--user", "4321:4321"), ("/tmp",)),
        (("--user", "4321:4321"), ("/run",)),
        (("--user", "4321:4321"), ("/run", "/tmp")),
        (("--cap-add", "SETUID", "--cap-add", "SETGID"), ()),
        (("--cap-add", "SETUID", "--cap-add", "SETGID"), ("/run", "/tmp")),
    ],
)
def test_closed_container_says_what_it_lacks(
    volume: str, options: tuple[str, ...], mounted: tuple[str, ...]
) -> None:
    """Without a writable place, the message says which folders to mount; a start with these mounts works."""
    user = options[1] if options[0] == "--user" else "999:999"
    in_volume(volume, f"chown {user} . && chmod 700 .")
    options = (*CLOSED, *options, *(word for each in mounted for word in ("--tmpfs", each)))
    outcome = run(env={**FRESH, "PGDATA": "/volume"}, volumes={"/volume": volume}, options=options)
    assert (1, True) == (outcome.code, bool(complaints(outcome)))
    lacked = re.findall(r"--tmpfs (\S+)", outcome.stderr)
    assert lacked, outcome.stderr
    options = (*options, *(word for each in lacked for word in ("--tmpfs", each)))
    with serve(env={**FRESH, "PGDATA": "/volume"}, volumes={"/volume": volume}, options=options) as container:
        assert "1" == container.sql("SELECT 1")


def test_root_without_the_right_to_step_down(used_volume: str) -> None:
    """Root that may not change its ids learns which capabilities it lacks."""
    with copied_volume(used_volume) as name:
        outcome = run(env=USED, volumes={"/volume": name}, options=("--cap-drop", "ALL"))
    assert 1 == outcome.code
    assert any("--cap-add SETUID --cap-add SETGID" in text for text in complaints(outcome))


def test_least_capabilities_of_root(used_volume: str) -> None:
    """DAC_OVERRIDE, SETUID and SETGID are all that root needs if the owners are right."""
    options = ("--cap-drop", "ALL", *(f"--cap-add={name}" for name in ("DAC_OVERRIDE", "SETUID", "SETGID")))
    with serve(env=USED, volumes={"/volume": used_volume}, options=options) as container:
        assert "42" == container.sql("SELECT answer FROM kept")
        docker("exec", container.name, "entrypoint", "ready")
        assert 0 == container.stop()
