"""A first start that was interrupted: the other nodes would wait for this one for good.

The node that creates the cluster takes a place in the DCS, which has no time limit. Patroni gives it back if
the first start fails, but not if the container was killed.
"""

from __future__ import annotations

import os

from entrypoint import log
from entrypoint.config import from_patroni
from entrypoint.errors import Failure
from entrypoint.failover import patroni
from entrypoint.system.children import memory_file, read_back

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context
    from entrypoint.settings.failing_over import Failover

_SECONDS = 20
"""Seconds for one question to the DCS."""


def give_back(context: Context, node: Failover) -> None:
    """Give back the place of the node that creates the cluster, unless there is a cluster by now.

    What the interrupted first start has made was removed already, so nobody can continue it.
    """
    code, text = patronictl(context, node, "list")
    if code == 0 and not is_waiting(text, node.scope):
        return
    if code == 0:
        # Only now does nothing of a cluster get lost: it has no identity, no leader and no settings yet.
        code, text = patronictl(context, node, "remove", f"{node.scope}\nYes I am aware\n")
    if code == 0:
        log.info("the first start of the cluster was interrupted on this node: the nodes begin again")
        return
    log.warning(
        f"the first start of the cluster was interrupted on this node, and the DCS does not answer:\n{text}",
        f"if the nodes wait for a leader to bootstrap: patronictl remove {node.scope}",
        docs="fail-over",
    )


def is_waiting(text: str, scope: str) -> bool:
    """Return whether the nodes wait for one of them to create the cluster, by the output of patronictl list.

    >>> is_waiting("+ Cluster: shop (initializing) ---+", "shop")
    True
    >>> is_waiting("+ Cluster: shop (7421935286318256171) ---+", "shop")
    False
    """
    return f"Cluster: {scope} (initializing) " in text


def patronictl(context: Context, node: Failover, command: str, answers: str = "") -> tuple[int, str]:
    """Return the exit code and the output of patronictl; `answers` are the lines that it asks for."""
    path = f"{context.runtime_folder}/{from_patroni.CONFIGURATION}"
    argv = ["patronictl", "--config-file", path, command, node.scope]
    given, out = memory_file(answers), memory_file("")
    try:
        code = context.children.run(
            argv,
            patroni.environment(context, node),
            descriptors={0: given, 1: out, 2: out},
            seconds=_SECONDS,
        )
        return code, read_back(out).strip()
    except TimeoutError:
        return 1, f"no answer within {_SECONDS} seconds"
    except Failure as failure:
        return failure.code, failure.problems[0].what
    finally:
        os.close(given)
        os.close(out)
