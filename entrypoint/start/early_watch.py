"""Starts the watch before the server, so that probes are answered during a long start."""

from __future__ import annotations

import os

from entrypoint.pid1 import lifecycle
from entrypoint.pid1.handoff import HelperSpec
from entrypoint.server.context import OUR_PROGRAM, Context, later_environment, write_down_settings
from entrypoint.settings import environment
from entrypoint.settings.watching import NETWORK, SECRETS
from entrypoint.system.children import memory_file


def start(context: Context) -> HelperSpec:
    """Start the watch and return how PID 1 continues it.

    It gets its secrets by a file in memory, which PID 1 keeps to start it again.
    """
    write_down_settings(context)
    secrets = {
        name: value
        for name, value in context.settings.values.items()
        if value and (name in SECRETS or name.lower() in NETWORK)
    }
    stdin = memory_file(environment.pack(secrets))
    argv, handed_on = [OUR_PROGRAM, "internal", lifecycle.WATCH], later_environment(context)
    read, write = os.pipe2(os.O_CLOEXEC)
    for each in (read, write):  # nobody reads before the server runs
        os.set_blocking(each, False)
    try:
        pid = context.children.spawn(argv, handed_on, descriptors={0: stdin, 1: write, 2: write})
    finally:
        os.close(write)
    return HelperSpec(
        lifecycle.WATCH,
        argv,
        handed_on,
        after_server=True,
        keep=True,
        stdin=stdin,
        pid=pid,
        output=read,
    )
