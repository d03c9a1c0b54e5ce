"""A stand-in for tianon/gosu, which other people's scripts call: `gosu user[:group] command [arguments]`."""

import os
import sys

from entrypoint import __version__
from entrypoint.__main__ import undo_coercion
from entrypoint.errors import Failure
from entrypoint.system import identity
from entrypoint.system.children import find_program, replace_process

USAGE = """\
usage: gosu user-spec command [args]
       where user-spec is user[:group], each a name or a number: gosu postgres id
"""


def main() -> int:
    """Become the user and replace this process with the command; return 1 on any error, as gosu does."""
    undo_coercion()
    arguments = sys.argv[1:]
    if arguments in (["--help"], ["-h"], ["-?"]):
        print(USAGE, end="")
        return 0
    if arguments in (["--version"], ["-v"]):
        print(f"{__version__} (entrypoint's stand-in for gosu)")
        return 0
    if len(arguments) < 2:
        print(USAGE, end="", file=sys.stderr)
        return 1
    try:
        who = identity.resolve(arguments[0])
        identity.become(who)
        environment = {**os.environ, "HOME": who.home}
        replace_process(find_program(arguments[1], environment), arguments[1:], environment)
    except ValueError as error:
        print(f"error: failed switching to {arguments[0]!r}: {error}", file=sys.stderr)
    except Failure as failure:
        print(f"error: {failure.problems[0].what}", file=sys.stderr)
    return 1
