"""Copies of this process that do what takes long."""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.errors import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from entrypoint.system.children import Children


def branch(children: Children, work: Callable[[], bytes]) -> tuple[int, int]:
    """Run a function in a copy of this process, with a process group of its own.

    Return the pid, and a descriptor from which to read what the function has returned. The copy keeps none of
    our descriptors but the standard streams. It ends with code 1 if the function raises.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid:
        os.close(write)
        children.adopt(pid)
        return pid, read
    code = 1
    try:
        log.simply_write()
        os.setpgid(0, 0)
        os.closerange(3, write)
        os.closerange(write + 1, os.sysconf("SC_OPEN_MAX"))
        data = work()
        while data:
            data = data[os.write(write, data) :]
        code = 0
    except Failure as failure:
        log.problem(failure.problems[0])
    except BrokenPipeError:
        pass  # nobody waits for it any longer
    except Exception as error:  # noqa: BLE001 - the copy must not run what is above us
        log.warning(f"{type(error).__name__}: {error}")
    finally:
        os._exit(code)
