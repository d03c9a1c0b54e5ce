"""The door: the arguments decide between the server, a command of ours, and any other program."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = (
    "doctor",
    "archive",
    "backup",
    "collation",
    "config",
    "promote",
    "render",
    "restore",
    "status",
    "internal",
)
"""Our own commands; any other word is a program of the image, as in the official one."""
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
"""What Python makes of the locale C, before our first line runs."""


def main() -> int:
    """Run what the arguments ask for and return the exit code."""
    undo_coercion()
    handoff = os.environ.pop("ENTRYPOINT_HANDOFF", None)
    if handoff is not None:
        from entrypoint.pid1 import supervisor

        # There is nothing to be tidied up, for which a stop would wait.
        os._exit(supervisor.main(handoff))
    return _guard(sys.argv[1:])


def undo_coercion() -> None:
    """Give LC_CTYPE back what this program was started with.

    In the locale C, Python sets it to a UTF-8 one, for itself and for all that it starts (PEP 538), and
    isolated mode ignores PYTHONCOERCECLOCALE. initdb would make databases of another ctype and encoding.
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
    """Say what has ended the program and return its exit code; None where Python itself knows what to do.

    What that takes is loaded only here: a health check, of which there are many, needs none of it.
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
        # No place for a traceback: what the kernel refused and where is what one needs to know.
        from entrypoint.system import refusal

        log.problem(refusal.explain(error))
        return exits.FAILURE
    if isinstance(error, Exception):
        log.let_go()
    return None


def _dispatch(arguments: "Sequence[str]") -> int:
    if arguments[:1] == ["ready"]:
        from entrypoint.pid1 import ready

        code = ready.main()
        sys.stdout.flush()
        os._exit(code)  # there is nothing to be tidied up, which would take a tenth of its time
    if arguments == ["internal", "startdb"]:
        from entrypoint.every_start import startdb

        return startdb.main()
    if arguments in (["internal", "look"], ["internal", "look-first"]):
        from entrypoint.standby import lookout

        return lookout.main(whole=arguments[1] == "look-first")
    if arguments[:2] == ["internal", "by-hand"]:
        from entrypoint.archive import by_hand

        by_hand.run(arguments[2], arguments[3:])
    if not arguments or arguments[0] in COMMANDS:
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
        startup.start(arguments[1:])
    return startup.execute(arguments, os.environ)


if __name__ == "__main__":
    sys.exit(main())
