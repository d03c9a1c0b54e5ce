"""
Table 4.2: the assertions of Yelp/dumb-init's tests, D1 to D23.

D12 is tested with T1 and T2, the parts of D8 about postgres with T13 and T18, and D18, D20 and D21 in
`test_terminal`.

Rows without a test of their own:

- D1, D4: the server alone gets signals (D2), and the other processes are asked to end after it (D3); there are no
  modes to choose from.
- D6: a command line without arguments is no error; see `test_t18_no_arguments_print_help`.
- D10 as far as it concerns a map of signals: ours cannot be configured. The nearest settings are the ladder's times
  and the level of the log.
- D16, D19: the supervisor never stops itself, because no signal may do that (D18).
- D22: we neither give up nor take a controlling terminal, so the kernel sends no HUP and CONT that we would have
  to ignore; D15 asserts that the first HUP counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from acceptance.pid1.lab import Lab, bash, open_lab, python
from containers import FRESH, Container, copied_volume, in_volume, serve, until

USED = {"PGDATA": "/volume/data"}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The laboratory in which supervisors run."""
    with open_lab() as made:
        yield made


@pytest.fixture(scope="module")
def real(cluster: str) -> Iterator[Container]:
    """A server with the debug log; the tests change nothing in its volume."""
    with (
        copied_volume(cluster) as volume,
        serve(env={**USED, "STATUS_LOG_LEVEL": "debug"}, volumes={"/volume": volume}) as container,
    ):
        yield container


# D2, D3: which processes get signals


def test_d2_only_the_child_is_signalled(lab: Lab) -> None:
    """Of a child and its children in the same group, only the child gets forwarded signals."""
    child = """
numbers = {signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
witnesses = []
for _ in range(4):
    witness = os.fork()
    if not witness:
        signal.sigwait({signal.SIGUSR1})
        os._exit(0)
    witnesses.append(witness)
for number in (1, 15, 2, 3):
    os.kill(INIT, number)
    assert number == signal.sigwait({number})
def pending(pid):
    with open(f"/proc/{pid}/status") as file:
        masks = [line.split()[1] for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    return sum(int(mask, 16) for mask in masks)
alive = [pid for pid in witnesses if stat(pid)[0] in "RSD" and os.getpgid(pid) == os.getpgid(0)]
print(len(alive), [pending(pid) for pid in witnesses])
sys.exit(5)
"""
    ended = lab.supervise(python(child))
    assert (5, "4 [0, 0, 0, 0]\n") == (ended.code, ended.stdout), ended.output


def test_d2_only_the_postmaster_is_signalled(real: Container) -> None:
    """HUP reaches the server once; the sessions and the server's processes stay."""
    children = f"ps -o pid= --ppid {real.postmaster()} | sort -n"
    with real.session("SELECT pg_sleep(60)"):
        before = real.shell(children)
        real.kill("HUP")
        real.says("received SIGHUP, reloading configuration files")
        assert "1" == real.sql("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'")
        assert before == real.shell(children)
    lines = [line for line in real.logs().output.splitlines() if "sending SIGHUP" in line]
    assert [f"entrypoint: debug: sending SIGHUP to the server (pid {real.postmaster()})"] == lines


_LEFTOVER = """
ready, listening = os.pipe()
def live():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    os.write(listening, b"x")
    print("got", int(signal.sigwait({signal.SIGTERM})), flush=True)
    STAY
orphan(live)
os.read(ready, 1)
os._exit(7)
"""


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
def test_d3_leftovers_are_asked_to_end(lab: Lab, pid1: bool) -> None:
    """A process that outlives the child gets TERM and has time to end by itself."""
    stay = "time.sleep(0.2); print('tidied up', flush=True)"
    ended = lab.supervise(python(_LEFTOVER.replace("STAY", stay)), pid1=pid1)
    assert (7, "got 15\ntidied up\n", "") == ended


def test_d3_leftovers_are_killed(lab: Lab) -> None:
    """A process that ignores TERM is killed: the supervisor ends, and nothing stays even if it is not PID 1."""
    stubborn = "open('/tmp/pid', 'w').write(str(os.getpid())); os.setsid()"
    child = _LEFTOVER.replace("STAY", "signal.pause()").replace("live():", f"live():\n    {stubborn}")
    # The process that is PID 1 there sees whether it is left.
    gone = "pid=$(</tmp/pid); for i in {1..500}; do [[ -e /proc/$pid ]] || break; sleep 0.01; done"
    tell = '[[ -e /proc/$pid ]] && echo "$pid stays" || echo "$pid is gone"'
    below = ("bash", "-c", f'"$@"; code=$?; {gone}; {tell}; exit $code', "-")
    ended = lab.alone(*below, "/lab/supervise", *python(child))
    assert (7, ["got 15", "is gone"]) == (ended.code, re.findall("got 15|is gone|stays", ended.stdout))


def test_d3_leftovers_of_the_real_server(used_volume: str) -> None:
    """When the server has ended, a process that a session left behind gets TERM."""
    with serve(env=USED, volumes={"/volume": used_volume}) as container:
        writes = "trap 'echo got TERM > /volume/data/witness; exit' TERM"
        waits = f"trap '' HUP INT; {writes}; echo > /volume/data/armed; while :; do sleep 0.01; done"
        left = f'(bash -c "{waits}" > /dev/null 2>&1 & echo $!)'.replace("'", "''")
        container.sql(f"CREATE TEMP TABLE t (pid int); COPY t FROM PROGRAM '{left}'")
        until(lambda: "" != container.shell("ls /volume/data/armed 2> /dev/null || true"), "the trap is set")
        assert 0 == container.stop()
        assert "got TERM" == in_volume(used_volume, "cat data/witness")


# D5, D7, D8: the command line


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("doesnotexist", 127, "command not found"),
        ("/doesnotexist", 127, "No such file or directory"),
        ("/etc", 126, "Permission denied"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/tmp/no-interpreter", 127, "No such file or directory"),
        ("/tmp/no-format", 126, "Exec format error"),
    ],
)
def test_d5_bad_command(lab: Lab, command: str, code: int, reason: str) -> None:
    """A command that cannot be executed is named with the reason."""
    made = "printf '#!/nowhere' > /tmp/no-interpreter; echo nothing > /tmp/no-format; chmod +x /tmp/no-*"
    assert 0 == lab.run(*bash(made)).code
    ended = lab.run("entrypoint", command, "--an-option")
    found = re.match(r"entrypoint: error: (\S+): (.*)\n", ended.stderr)
    assert found is not None, ended.output
    assert (code, "", command, True) == (ended.code, ended.stdout, found[1], reason in found[2])


@pytest.mark.parametrize("arguments", [("doctor", "--nonsense"), ("backup", "nonsense"), ("status", "word")])
def test_d7_invalid_arguments_of_our_commands(lab: Lab, arguments: tuple[str, ...]) -> None:
    """An error in the arguments of our own command ends with 2, and the message names the argument."""
    ended = lab.run("entrypoint", *arguments)
    assert (2, "", True) == (ended.code, ended.stdout, arguments[-1] in ended.stderr), ended.output


@pytest.mark.parametrize("spellings", [("-?", "--help"), ("-V", "--version")], ids=str)
def test_d8_both_spellings(lab: Lab, spellings: tuple[str, str]) -> None:
    """Both spellings print the server's help and version unchanged, and nothing else."""
    for spelling in spellings:
        expected = lab.run("postgres", spellings[1])
        assert (0, "") == (expected.code, expected.stderr)
        assert expected == lab.alone("entrypoint", spelling)


@pytest.mark.parametrize("spelling", ["-h", "--help"])
def test_d8_help_of_our_commands(lab: Lab, spelling: str) -> None:
    """Our own commands explain themselves in both spellings."""
    ended = lab.run("entrypoint", "doctor", spelling)
    assert (0, True, "") == (ended.code, ended.stdout.startswith("Usage: entrypoint doctor"), ended.stderr)


# D9: the debug log


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
def test_d9_debug_log_reports_everything_in_order(lab: Lab, pid1: bool) -> None:
    """The log reports the child, the orphan, and all signals that came and went; the child's output stays unchanged."""
    child = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
orphan(lambda: os._exit(3))
until(lambda: not adopted())
os.kill(INIT, signal.SIGTERM)
signal.sigwait({signal.SIGTERM})
print(os.getpid(), flush=True)
os._exit(0)
"""
    ended = lab.supervise(python(child), pid1=pid1, debug=True)
    pid = ended.stdout.strip()
    log = re.sub(r"orphan \d+", "orphan N", ended.stderr).splitlines()
    expected = [
        f"entrypoint: debug: started the server (pid {pid})",
        "entrypoint: debug: received SIGCHLD",
        "entrypoint: debug: reaped the orphan N, which ended with 3",
        "entrypoint: debug: received SIGTERM",
        "entrypoint: info: SIGTERM: smart shutdown",
        f"entrypoint: debug: sending SIGTERM to the server (pid {pid})",
    ]
    assert (0, True) == (ended.code, pid.isdigit())
    assert expected == [line for line in log if line in expected][: len(expected)], ended.stderr


# D10: malformed settings


@pytest.mark.parametrize("name", ["STOP_SMART_TIMEOUT", "STOP_FAST_TIMEOUT", "STOP_IMMEDIATE_TIMEOUT"])
@pytest.mark.parametrize("value", ["-1", "word", "1:2", "1;2", "0x10", "nan", "inf", "1e999", "5s5", "5 5"])
def test_d10_malformed_times(lab: Lab, name: str, value: str) -> None:
    """An invalid time is refused with the variable's name and the value before anything is done."""
    ended = lab.run("entrypoint", "postgres", env={**FRESH, name: value, "PGDATA": "/tmp/never"})
    assert 1 == ended.code, ended.output
    assert name in ended.stderr
    assert value in ended.stderr
    assert 1 == lab.run("test", "-e", "/tmp/never").code


def test_d10_malformed_level(lab: Lab) -> None:
    """An unknown level is refused, and the message lists the known ones."""
    ended = lab.run(
        "entrypoint", "postgres", env={**FRESH, "STATUS_LOG_LEVEL": "loud", "PGDATA": "/tmp/never"}
    )
    assert (1, True) == (ended.code, "STATUS_LOG_LEVEL" in ended.stderr and "debug" in ended.stderr)


# D11, working folders


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
def test_d11_working_folders(lab: Lab, pid1: bool) -> None:
    """The supervisor changes to `/`, its child stays where the entrypoint was started."""
    child = python("""
until(lambda: os.readlink(f"/proc/{INIT}/cwd") == "/")
print(os.getcwd())
sys.exit(5)
""")
    before = ("bash", "-c", 'cd /var/lib && exec "$@"', "-")
    assert (5, "/var/lib\n", "") == lab.supervise(child, pid1=pid1, before=before)


def test_d11_working_folder_of_a_command(lab: Lab) -> None:
    """A command runs in the folder where the entrypoint was started."""
    assert (0, "/var/lib\n", "") == lab.run(*bash("cd /var/lib && entrypoint pwd"))


# D13: a signal ends the child


def test_d13_death_by_signal(lab: Lab) -> None:
    """For each signal that ends a child, the code is 128 + signal."""
    deadly = [*range(1, 17), *range(24, 28), *range(29, 32)]
    script = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
number = int(sys.argv[1])
if number != 9:
    signal.signal(number, signal.SIG_DFL)
os.kill(os.getpid(), number)
"""
    one = 'unshare --pid --fork --mount-proc /lab/supervise "$@" $number 2> /dev/null; echo $?'
    text = f"for number in {' '.join(map(str, deadly))}; do {one}; done"
    ended = lab.run("bash", "-c", text, "-", *python(script))
    assert [128 + number for number in deadly] == [int(line) for line in ended.stdout.split()]


# D14, D15, D17: which signals are forwarded, and as which ones

_ALL = [number for number in range(1, 32) if number not in (9, 17, 19, 20, 21, 22)]
"""All signals but KILL, STOP, CHLD, TSTP, TTIN and TTOU."""


def test_d14_command_gets_every_signal(lab: Lab) -> None:
    """A command can trap every signal, and receives it."""
    words = " ".join(map(str, _ALL))
    traps = f"for n in {words}; do trap \"printf '%s ' $n\" $n; done"
    text = f"{traps}; for n in {words}; do kill -$n $$; done; exit 5"
    ended = lab.run("entrypoint", "bash", "-c", text)
    assert (5, _ALL) == (ended.code, [int(word) for word in ended.stdout.split()])


_RECORDER = """
numbers = signal.valid_signals() - {9, 19, 17}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
def arrived(number):
    # what reaches us when the supervisor gets this signal: all that came before the HUP that follows
    os.kill(INIT, number)
    os.kill(INIT, signal.SIGHUP)
    if signal.sigtimedwait({signal.SIGHUP}, 10) is None:
        os.kill(INIT, signal.SIGCONT)
        return "no answer"
    found = sorted(int(number) for number in signal.sigpending())
    for number in found:
        signal.sigwait({number})
    return found
"""

_SYNCHRONOUS = (4, 5, 6, 7, 8, 11, 31)
"""ILL, TRAP, ABRT, BUS, FPE, SEGV and SYS: a program's own errors, which nobody sends to a supervisor."""


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
def test_d14_d17_signals_that_are_not_the_servers_are_dropped(lab: Lab, pid1: bool) -> None:
    """Signals that mean nothing to the server, such as USR2 and WINCH, neither reach it nor harm us."""
    meaningless = [
        n for n in (*range(1, 32), 34, 40, 64) if n not in (1, 2, 3, 9, 15, 17, 18, 19, *_SYNCHRONOUS)
    ]
    child = f"""{_RECORDER}
for number in {meaningless}:
    print(number, arrived(number), flush=True)
sys.exit(5)
"""
    ended = lab.supervise(python(child), pid1=pid1)
    expected = "".join(f"{number} []\n" for number in meaningless)
    assert (5, expected) == (ended.code, ended.stdout), ended.output


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ((1, 1, 15), [1, 1, 15]),
        ((15, 15, 15), [15, 2, 3]),
        ((2, 2), [2, 3]),
        ((15, 2, 3), [15, 2, 3]),
        ((15, 3), [15, 3]),
        ((2, 15), [2, 3]),
        ((3,), [3]),
    ],
    ids=str,
)
def test_d15_stops_climb(lab: Lab, sent: tuple[int, ...], expected: list[int], pid1: bool) -> None:
    """HUP, TERM, INT and QUIT go to the server; each further stop climbs at least one step."""
    child = f"""
numbers = {{1, 2, 3, 15}}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
got = []
for number in {sent}:
    os.kill(INIT, number)
    found = signal.sigtimedwait(numbers, 5)
    got.append(found and int(found.si_signo))
print(got)
sys.exit(5)
"""
    ended = lab.supervise(python(child), pid1=pid1)
    assert (5, f"{expected}\n") == (ended.code, ended.stdout), ended.output


def test_d15_last_step_is_kill(lab: Lab) -> None:
    """A further request after QUIT kills the child."""
    child = python("""
signal.pthread_sigmask(signal.SIG_BLOCK, {3})
os.kill(INIT, 3)
signal.sigwait({3})
os.kill(INIT, 15)
signal.pause()
""")
    assert 137 == lab.supervise(child).code


def test_d15_ladder_climbs_by_itself(lab: Lab) -> None:
    """Each step has its own time; the last step is KILL."""
    child = python("""
began = time.monotonic()
numbers = {2, 3, 15}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
os.kill(INIT, 15)
for _ in range(3):
    print(int(signal.sigwait(numbers)), time.monotonic() - began, flush=True)
signal.pause()
""")
    ended = lab.supervise(child, timeouts="0.5 1 0.3")
    steps = [line.split() for line in ended.stdout.splitlines()]
    assert (137, ["15", "2", "3"]) == (ended.code, [number for number, _ in steps])
    began, fast, immediate = (float(after) for _, after in steps)
    assert began < 0.5 <= fast < 1.5 <= immediate < 4


def test_d17_usr1_logs_a_status_line(real: Container) -> None:
    """USR1 never reaches the server: it requests a log line about the state, with the number of sessions."""
    with real.session("SELECT pg_sleep(60)"):
        real.kill("USR1")
        said = re.compile("entrypoint: info: serving; [1-9][0-9]* sessions?")
        real.follow(lambda line: said.fullmatch(line.strip()) is not None, said.pattern)
    assert "sending SIGUSR1" not in real.logs().output


def test_d17_usr2_and_winch_do_not_reach_the_server(real: Container) -> None:
    """USR2 and WINCH change nothing, as a HUP after them shows."""
    sent = len(re.findall("sending SIG", real.logs().output))
    real.kill("USR2")
    real.kill("WINCH")
    real.kill("HUP")
    until(lambda: len(re.findall("sending SIG", real.logs().output)) > sent, "the HUP is sent")
    assert "sending SIGUSR2" not in real.logs().output
    assert "sending SIGWINCH" not in real.logs().output
    assert "42" == real.sql("SELECT answer FROM kept")


# D23, zombies


@pytest.mark.parametrize("pid1", [True, False], ids=["pid1", "subreaper"])
def test_d23_no_zombies(lab: Lab, pid1: bool) -> None:
    """A nested background process that ends is no zombie a second later, whatever its parent was."""
    child = """
for _ in range(20):
    nested = os.fork()
    if not nested:
        for _ in range(3):
            os.fork() or os._exit(1)
        os._exit(0)
    os.waitpid(nested, 0)
deadline = time.monotonic() + 1
zombies = None
while zombies != [] and time.monotonic() < deadline:
    zombies = [pid for pid in pids() if stat(pid)[0] == "Z"]
print(zombies)
sys.exit(5)
"""
    assert (5, "[]\n", "") == lab.supervise(python(child), pid1=pid1)
