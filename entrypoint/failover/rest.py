"""What Patroni on this node says about itself and about the cluster."""

from __future__ import annotations

import json

from entrypoint.settings.failing_over import Failover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECONDS = 3
_MOST = 1024**2
"""Bytes of an answer."""
_ALL = ("*", "0.0.0.0", "[::]", "::", "")  # noqa: S104 - to connect to, as ourselves


def leader(node: Failover) -> dict[str, Any]:
    """Return what is known about the node that leads, such as its name; empty: none is known."""
    members = (ask(node, "/cluster") or {}).get("members")
    rows = [each for each in members if isinstance(each, dict)] if isinstance(members, list) else []
    return next((each for each in rows if each.get("role") == "leader"), {})


def ask(node: Failover, path: str = "/patroni") -> dict[str, Any] | None:
    """Return the answer of this node's Patroni; None: there is none."""
    import http.client  # the watch of a server that runs alone needs neither of them
    import ssl

    listen = str(node.values.get(("restapi", "listen"), ""))
    host, _, port = listen.rpartition(":")
    host = "127.0.0.1" if host in _ALL else host
    connection: http.client.HTTPConnection
    if ("restapi", "certfile") in node.values:
        # It is this container's own Patroni, by whatever name the certificate is.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, int(port), timeout=_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=_SECONDS)
    try:
        connection.request("GET", path)
        found = json.loads(connection.getresponse().read(_MOST))
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) else None
