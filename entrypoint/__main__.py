"""The program's entrance: its arguments choose the server, one of our commands, or another program."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from entrypoint.server.context import Context

COMMANDS = (
    "doctor",
    "archive",
    "backup",
    "collation",
    "config",
    "help",
    "notify",
    "promote",
    "ready",
    "render",
    "restore",
    "status",
    "upgrade",
    "internal",
)
"""Our own commands; any other first argument is a program in the image, as in the official image."""
QUESTIONS = ("--help", "-h", "-?", "--version", "-V")
"""What a person types to get our help or version; as the container's only argument it is postgres's."""
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python turns the locale C into, before our first line runs."""


def main() -> int:
    """Run the command in the arguments and return the exit code."""
    undo_coercion()
    handoff = os.environ.pop("ENTRYPOINT_HANDOFF", None)
    if handoff is not None and handoff.endswith(" patroni"):
        from entrypoint.pid1 import guided

        os._exit(guided.main(handoff.removesuffix(" patroni")))
    if handoff is not None:
        from entrypoint.pid1 import supervisor

        # Nothing has to be cleaned up, and cleaning up would delay a stop.
        os._exit(supervisor.main(handoff))
    if os.environ.get("POSTGRES_UPGRADE") == "on":
        from entrypoint.volume import elsewhere

        elsewhere.follow(os.environ)
    return _guard(sys.argv[1:])


def undo_coercion() -> None:
    """Reset LC_CTYPE to the value that this program was started with.

    In the locale C, Python sets it to a UTF-8 locale, for itself and its children (PEP 538), and isolated
    mode ignores PYTHONCOERCECLOCALE. initdb would create databases with another ctype and encoding.
    """
    if os.environ.get("LC_CTYPE") not in _COERCED:
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            entries = file.read().split(b"\0")
    except OSError:
        return
    given = next((entry for entry in entries if entry.startswith(b"LC_CTYPE=")), None)
    if given is None:
        del os.environ["LC_CTYPE"]
    else:
        os.environ["LC_CTYPE"] = os.fsdecode(given.removeprefix(b"LC_CTYPE="))


def _guard(arguments: "Sequence[str]") -> int:
    try:
        return _dispatch(arguments)
    except BaseException as error:
        code = _ended(error)
        if code is None:
            raise
        return code
    finally:
        from entrypoint import log

        log.drain()


def _ended(error: BaseException) -> int | None:
    """Log what ended the program and return its exit code; None: Python itself handles the exception.

    The modules for this are loaded only here, because the frequent health checks need none of them.
    """
    from entrypoint import exits, log
    from entrypoint.errors import Ended, Failure, Stopped

    if isinstance(error, Failure):
        for problem in error.problems:
            log.problem(problem)
        return error.code
    if isinstance(error, Ended):
        return error.code
    if isinstance(error, Stopped):
        return exits.SIGNAL_BASE + error.signal_number
    if isinstance(error, KeyboardInterrupt):
        return exits.SIGNAL_BASE + 2
    if isinstance(error, OSError):
        # A traceback would not help: people need to know what the kernel refused, and where.
        from entrypoint.system import refusal

        log.problem(refusal.explain(error))
        return exits.FAILURE
    if isinstance(error, Exception):
        log.drain_for_traceback()
    return None


def _dispatch(arguments: "Sequence[str]") -> int:
    if arguments[:1] == ["ready"] and arguments[1:] not in (["-h"], ["--help"]):
        from entrypoint.pid1 import ready

        code = ready.main()
        sys.stdout.flush()
        os._exit(code)  # nothing has to be cleaned up, and cleaning up would take a tenth of the time
    if arguments[:1] == ["internal"]:
        done = _help_pid_1(arguments[1:])
        if done is not None:
            return done
    if not arguments or arguments[0] in COMMANDS or is_for_us(arguments):
        from entrypoint.cli import cli

        return cli(arguments)
    from entrypoint.archivers.known import TOOLS
    from entrypoint.postgres.argv import HELP
    from entrypoint.start import startup
    from entrypoint.system import doors

    doors.run_script_if_changed(arguments)
    if arguments[0].startswith("-"):
        arguments = ["postgres", *arguments]
    if arguments[0] in TOOLS:
        from entrypoint.archive import by_hand

        if by_hand.is_asked_for(arguments[0]):
            by_hand.run(arguments[0], arguments[1:])
    if arguments[0] == "postgres" and not any(word in HELP for word in arguments):
        startup.start(arguments[1:], refused=_refuse)
    return _execute(arguments)


def _refuse(context: "Context", error: Exception) -> None:
    """Log why a start was refused, and then report it to people; raises Ended if nothing is left to log."""
    code = _ended(error)
    from entrypoint.errors import Ended
    from entrypoint.notify import refused

    refused.report(context, error)
    if code is not None:
        raise Ended(code) from error


def _help_pid_1(arguments: "Sequence[str]") -> int | None:
    """Run a helper of PID 1 that does without click, and return its exit code; None: it is none of them."""
    if arguments[:1] == ["log"]:
        from entrypoint.logs import jsonlines

        return jsonlines.main(arguments[1])
    if arguments == ["startdb"]:
        from entrypoint.every_start import startdb

        return startdb.main()
    if arguments == ["notify"]:
        from entrypoint.notify import sender

        return sender.main()
    if arguments == ["watch"]:
        from entrypoint.watch import loop

        return loop.main()
    if arguments in (["look"], ["look-first"]):
        from entrypoint.standby import lookout

        return lookout.main(whole=arguments == ["look-first"])
    if arguments[:1] == ["by-hand"]:
        from entrypoint.archive import by_hand

        by_hand.run(arguments[1], arguments[2:])
    return None


def is_for_us(arguments: "Sequence[str]") -> bool:
    """Return whether the only argument is a question that a person asks us, not the container's argument."""
    return len(arguments) == 1 and arguments[0] in QUESTIONS and not is_the_container(arguments)


def is_the_container(arguments: "Sequence[str]") -> bool:
    """Return whether these are the container's arguments: those of its first process, or of its init's child.

    An init (`docker run --init`, tini, catatonit), or a script that starts us, has our arguments at the end
    of its own command line. A shell that is the first process, and in which a person calls us, does not.

    If containers share their processes (Kubernetes' shareProcessNamespace, `--pid=host`), nothing sets the
    main process apart, so we answer for ourselves. `postgres --help` is the server's everywhere.
    """
    if os.getpid() == 1:
        return True
    if os.getppid() != 1:
        return False
    try:
        with open("/proc/1/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
    except OSError:
        return True  # hidden from us: then the official image's behavior is the safe one
    return words[-len(arguments) :] == [os.fsencode(word) for word in arguments]


def _execute(arguments: "Sequence[str]") -> int:
    """Become a program of the image; if there is none, name our command that the word resembles."""
    from entrypoint import exits
    from entrypoint.errors import Failure
    from entrypoint.start import startup

    try:
        startup.execute(arguments, os.environ)
    except Failure as failure:
        from entrypoint import topics

        near = topics.spoken(topics.nearest(arguments)) if failure.code == exits.NOT_FOUND else ""
        if not near:
            raise
        before = f"run {near} (entrypoint help lists all commands); for a program of the image, "
        problems = (each._replace(hint=before + each.hint) for each in failure.problems)
        raise Failure(*problems) from failure


if __name__ == "__main__":
    sys.exit(main())
