"""
Table 4.3: lessons from other inits.

- openSUSE/catatonit has no tests, so we test its list of changes: deaths that coalesce, descriptors from 3 on
  closed, LISTEN_PID right, the folder of the start not kept busy. We have no pause mode, because there is
  always a child. And it refuses to run unless it is PID 1, while we are a subreaper then (T3, T11).
- tianon/gosu: one process only.

Rows without a test: phusion/baseimage-docker (its services, which we do not have) and just-containers/s6-overlay
(it has no tests).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from acceptance.pid1.lab import Lab, bash, open_lab, python, signal_state
from containers import Container, docker, serve, start, until

USED = {"PGDATA": "/volume/data"}
START = "/srv"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The laboratory in which supervisors run."""
    with open_lab() as made:
        yield made


@pytest.fixture
def started_elsewhere(used_volume: str) -> Iterator[Container]:
    """A server whose container starts in a folder of its own, with two additional descriptors."""
    leaking = ("-c", 'exec 5< /etc/passwd 77< /etc/group; exec entrypoint "$@"', "-", "postgres")
    options = ("--workdir", START, "--entrypoint", "bash", "--cap-add", "SYS_PTRACE")
    with serve(*leaking, env=USED, volumes={"/volume": used_volume}, options=options) as container:
        yield container


# catatonit: deaths that coalesce


def test_catatonit_coalesced_deaths(lab: Lab) -> None:
    """While the supervisor is stopped, 200 orphans and the child itself end; one look reaps them all."""
    child = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
reading, writing = os.pipe()
def live():
    os.close(writing)
    os.read(reading, 1)
    os._exit(3)
for _ in range(200):
    orphan(live)
until(lambda: len(adopted()) == 200)
if not os.fork():
    # It watches while the others end unreaped, lets the supervisor continue, and waits for the sweep.
    os.close(writing)
    until(lambda: sum(state == "Z" for state in adopted().values()) == 201)
    print("201 dead", flush=True)
    os.kill(INIT, signal.SIGCONT)
    signal.sigwait({signal.SIGTERM})
    print(adopted(), flush=True)
    os._exit(0)
os.kill(INIT, signal.SIGSTOP)
os._exit(7)  # and with it the other end of their pipe
"""
    assert (7, "201 dead\n{}\n", "") == lab.supervise(python(child), pid1=False)


# catatonit: descriptors and folders that are left open


def test_catatonit_descriptors_are_closed(lab: Lab) -> None:
    """A child has the three standard streams and nothing else, whatever the container's start left open."""
    before = ("bash", "-c", 'exec 5< /etc/passwd 77< /etc/group; exec "$@"', "-")
    child = python("""
print(sorted(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")))
sys.exit(5)
""")
    ended = lab.supervise(child, before=before)
    assert (5, "[0, 1, 2]\n") == (ended.code, ended.stdout)


def test_catatonit_descriptors_and_folder_of_the_real_server(started_elsewhere: Container) -> None:
    """The real server has none of the start's descriptors and works in its data folder; we are in `/`."""
    server = started_elsewhere.postmaster()
    user = started_elsewhere.process(server)["Uid"].split()[0]
    seen = started_elsewhere.exec("bash", "-c", f"ls -l /proc/{server}/fd", user="0").stdout
    assert "/etc/passwd" not in seen
    assert "/etc/group" not in seen
    places = {
        pid: started_elsewhere.exec("readlink", f"/proc/{pid}/cwd", user=user).stdout.strip()
        for pid in (1, server)
    }
    assert {1: "/", server: "/volume/data"} == places


def test_catatonit_start_folder_is_not_kept_busy(lab: Lab) -> None:
    """When the child has left the folder of the start, its filesystem can be unmounted."""
    mounted = 'mkdir -p /tmp/busy && mount -t tmpfs none /tmp/busy && cd /tmp/busy && exec "$@"'
    child = bash(
        "cd / && until [[ $(readlink /proc/$PPID/cwd) == / ]]; do :; done; umount /tmp/busy && exit 5"
    )
    ended = lab.supervise(child, before=("bash", "-c", mounted, "-"), limit=10)
    assert (5, "", "") == ended


def test_catatonit_listen_pid_names_the_command(lab: Lab) -> None:
    """LISTEN_PID stays right for a command, because the command is the process that was started."""
    text = """LISTEN_PID=$$ exec entrypoint bash -c 'echo $(( LISTEN_PID == $$ ))'"""
    assert (0, "1\n", "") == lab.run(*bash(text))


# gosu: one process only


@pytest.mark.parametrize(
    ("entrypoint", "before"),
    [
        ("entrypoint", ()),
        ("docker-entrypoint.sh", ()),
        ("gosu", ("postgres",)),
        ("entrypoint", ("gosu", "nobody")),
    ],
    ids=["entrypoint", "docker-entrypoint.sh", "gosu", "entrypoint-gosu"],
)
def test_gosu_exactly_one_process(entrypoint: str, before: tuple[str, ...]) -> None:
    """A command is the container's only process, under its own name."""
    command = (*before, "sleep", "1000")
    with start(*command, options=("--entrypoint", entrypoint, "--init=false")) as container:

        def processes() -> list[str]:
            lines = docker("top", container.name, "-eo", "pid,args").stdout.splitlines()[1:]
            return [line.split(None, 1)[1] for line in lines]

        # At first it is the entrypoint, which then replaces itself.
        until(lambda: processes() == ["sleep 1000"], "the command is the only process")


def test_gosu_inherits_the_signal_state(lab: Lab) -> None:
    """The stand-in for gosu keeps ignored and blocked signals, as T9 requires of any init."""
    state = ("/lab/with-signals", "2,11,22", "4,15,21")
    ended = lab.run(*state, "gosu", "nobody", "cat", "/proc/self/status")
    assert {"SigBlk": {4, 15, 21}, "SigIgn": {2, 11, 22}} == signal_state(ended.stdout)
