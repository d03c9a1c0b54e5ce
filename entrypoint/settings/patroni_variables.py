"""Patroni's own variables: where each of them is in its configuration, and how its text is read; pure.

Patroni reads them from its environment. The entrypoint writes them into its configuration file instead, so
that no secret is in a process's environment, `NAME_FILE` works for each of them, and `patronictl` in the
container finds everything in one file. The few that hold a table stay in the environment.
"""

from __future__ import annotations

from entrypoint.settings.fields import PATRONI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    Kind = Literal["text", "number", "switch", "list", "table"]
    Value = str | int | bool | list[str]

SCOPE = "PATRONI_SCOPE"
DCS_PREFIX = "PATRONI_DCS_"
"""Begins the entrypoint's variables for what Patroni itself takes only from the DCS."""
STORES = {"etcd3": "PATRONI_ETCD3_", "consul": "PATRONI_CONSUL_"}
"""The beginnings of the variables of the stores that an image has clients for, by Patroni's names."""
OTHER_STORES = tuple(
    f"{PATRONI}{name}_" for name in ("ETCD", "ZOOKEEPER", "EXHIBITOR", "KUBERNETES", "RAFT", "CITUS")
)

_PARTS: dict[str, tuple[tuple[str, ...], dict[Kind, str]]] = {
    "": ((), {"text": "SCOPE NAME NAMESPACE THREAD_STACK_SIZE", "number": "THREAD_POOL_SIZE"}),
    "LOG_": (
        ("log",),
        {
            "text": "TYPE LEVEL TRACEBACK_LEVEL FORMAT DATEFORMAT DIR",
            "number": "MAX_QUEUE_SIZE FILE_SIZE FILE_NUM",
            "switch": "DEDUPLICATE_HEARTBEAT_LOGS",
            "table": "LOGGERS STATIC_FIELDS MODE",
        },
    ),
    "RESTAPI_": (
        ("restapi",),
        {
            "text": "LISTEN CONNECT_ADDRESS CERTFILE KEYFILE KEYFILE_PASSWORD CAFILE CIPHERS VERIFY_CLIENT "
            "SERVER_TOKENS",
            "number": "REQUEST_QUEUE_SIZE",
            "switch": "ALLOWLIST_INCLUDE_MEMBERS",
            "list": "ALLOWLIST",
            "table": "HTTP_EXTRA_HEADERS HTTPS_EXTRA_HEADERS",
        },
    ),
    "CTL_": (("ctl",), {"text": "CACERT CERTFILE KEYFILE KEYFILE_PASSWORD", "switch": "INSECURE"}),
    "POSTGRESQL_": (("postgresql",), {"text": "LISTEN CONNECT_ADDRESS PROXY_ADDRESS"}),
    "ETCD3_": (
        ("etcd3",),
        {
            "text": "HOST URL PROXY SRV SRV_SUFFIX PROTOCOL USERNAME PASSWORD CACERT CERT KEY",
            "switch": "USE_PROXIES",
            "list": "HOSTS",
        },
    ),
    "CONSUL_": (
        ("consul",),
        {
            "text": "HOST URL SCHEME TOKEN CACERT CERT KEY DC CONSISTENCY SERVICE_CHECK_INTERVAL "
            "SERVICE_CHECK_TLS_SERVER_NAME",
            "number": "PORT",
            "switch": "VERIFY REGISTER_SERVICE",
            "list": "CHECKS SERVICE_TAGS",
        },
    ),
}
_LOGIN = (
    "USERNAME PASSWORD SSLMODE SSLKEY SSLPASSWORD SSLCERT SSLROOTCERT SSLCRL SSLCRLDIR GSSENCMODE "
    "CHANNEL_BINDING"
)
_LOGINS = {
    **{
        f"{role.upper()}_": (("postgresql", "authentication", role), _LOGIN)
        for role in ("superuser", "replication", "rewind")
    },
    "RESTAPI_": (("restapi", "authentication"), "USERNAME PASSWORD"),
    "CTL_": (("ctl", "authentication"), "USERNAME PASSWORD"),
}

PLACES: Mapping[str, tuple[tuple[str, ...], Kind]] = {
    **{
        f"{PATRONI}{beginning}{name}": ((*path, name.lower()), kind)
        for beginning, (path, kinds) in _PARTS.items()
        for kind, names in kinds.items()
        for name in names.split()
    },
    **{
        f"{PATRONI}{beginning}{name}": ((*path, name.lower()), "text")
        for beginning, (path, names) in _LOGINS.items()
        for name in names.split()
    },
}
"""Where each of Patroni's variables is in its configuration, and what its value is."""

_TRUE, _FALSE = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
"""Patroni's spellings, in any case."""


def is_secret(name: str) -> bool:
    """Return whether a variable may hold a secret; a URL may hold a password."""
    return name.endswith(("PASSWORD", "_TOKEN", "_URL", "_PROXY", "_HEADERS"))


def read(name: str, text: str) -> Value:
    """Return the value of a variable's text; raises ValueError, with what is wanted, if it is none.

    >>> read("PATRONI_ETCD3_HOSTS", "'a:2379', b:2379"), read("PATRONI_CONSUL_PORT", "8500")
    (['a:2379', 'b:2379'], 8500)
    >>> read("PATRONI_CTL_INSECURE", "On"), read("PATRONI_NAME", "db1")
    (True, 'db1')
    """
    kind = PLACES[name][1]
    if kind == "number":
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise ValueError("a whole number")
        return int(text)
    if kind == "switch":
        if text.lower() not in _TRUE + _FALSE:
            raise ValueError("on or off")
        return text.lower() in _TRUE
    if kind == "list":
        words = [word.strip().strip("'\"").strip() for word in text.strip().strip("[]").split(",")]
        if not all(words):
            raise ValueError("a list, separated by commas")
        return words
    return text
