"""Who gets messages of what the watch sees, and where it can be read; pure."""

from __future__ import annotations

from entrypoint.errors import Problem
from entrypoint.light import NamedTuple, re
from entrypoint.settings.fields import Variable, choice, is_whole, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    NotifyLevel = Literal["error", "warning", "info"]

NOTIFY_LEVELS: tuple[NotifyLevel, ...] = ("error", "warning", "info")

VARIABLES = (
    Variable(
        "WATCH_INTERVAL",
        "60",
        "Seconds between two looks of the watch, which runs if one of the variables below is set, or "
        "`BACKUP_PING_URL` or `DRILL_PING_URL`. Checks that query the archive or each database run every 60 "
        "intervals, and after each backup, drill and restore.",
    ),
    Variable(
        "NOTIFY_URLS",
        "",
        "Where messages go: URLs of [apprise](https://github.com/caronc/apprise/wiki), separated by spaces, "
        "for example `ntfy://ntfy.sh/my-topic mailtos://user:password@example.com`.",
        secret=True,
        from_file=True,
    ),
    Variable(
        "NOTIFY_LEVEL",
        "error",
        "The least serious messages to send: `error`, `warning`, or `info`.",
    ),
    Variable(
        "NOTIFY_HEARTBEAT_URL",
        "",
        "An address to request regularly while no check reports an error, for example of healthchecks.io or "
        "Uptime Kuma, which raises the alarm when the requests stop.",
        secret=True,
        from_file=True,
    ),
    Variable("NOTIFY_HEARTBEAT_INTERVAL", "300", "Seconds between two requests of `NOTIFY_HEARTBEAT_URL`."),
    Variable(
        "STATUS_LISTEN",
        "",
        "Where probes, metrics and the status page are served by HTTP: `:9187`, `127.0.0.1:9187`, or "
        "`unix:/path`. Unset: nowhere.",
    ),
    Variable(
        "STATUS_TOKEN",
        "",
        "What `/metrics`, `/status.json` and `/` require: as a Bearer token, or as the password of any user. "
        "Unset: nothing; probes never require it.",
        secret=True,
        from_file=True,
    ),
)
_ALL = {each.name: each for each in VARIABLES}
SECRETS = ("NOTIFY_URLS", "NOTIFY_HEARTBEAT_URL", "BACKUP_PING_URL", "DRILL_PING_URL", "STATUS_TOKEN")
"""The variables that only the watch gets to see."""
NETWORK = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")
"""Variables, in small letters, that say how others are reached; a proxy's address may contain a password."""
_STARTING = ("NOTIFY_URLS", "NOTIFY_HEARTBEAT_URL", "BACKUP_PING_URL", "DRILL_PING_URL", "STATUS_LISTEN")
_HTTP = re.compile(r"https?://[^\s/]+(/\S*)?")
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s/\[\]]*):(?P<port>[0-9]{1,5})")
LOCAL = frozenset("blink1 dbus gio glib gnome kde macosx qt syslog windows".split())
"""Schemes of apprise that reach no service, but this machine's desktop, devices and log."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")


class Address(NamedTuple):
    """Where HTTP is served."""

    host: str
    """Empty: at all addresses."""
    port: int
    path: str = ""
    """A Unix-domain socket, in place of host and port."""


class Watching(NamedTuple):
    """What the watch does; the defaults are for no variable set."""

    interval: int = 60
    """Seconds."""
    urls: tuple[str, ...] = ()
    level: NotifyLevel = "error"
    heartbeat: str = ""
    heartbeat_interval: int = 300
    """Seconds."""
    backup_ping: str = ""
    drill_ping: str = ""
    listen: Address | None = None
    token: str = ""


def is_wanted(values: Mapping[str, str]) -> bool:
    """Return whether a variable is set that makes the watch run."""
    return any(values.get(name) for name in _STARTING)


def parse(values: Mapping[str, str]) -> tuple[Watching, list[Problem]]:
    """Return what the watch does, and the problems with that."""
    problems: list[Problem] = []
    urls = tuple(values.get("NOTIFY_URLS", "").replace(",", " ").split())
    for number, url in enumerate(urls, 1):
        if url.partition(":")[0].lower() in LOCAL:
            problems.append(
                Problem(
                    f"NOTIFY_URLS: entry {number} of {len(urls)} is for {url.partition(':')[0]} on this "
                    "machine, and a container has none",
                    "use the URL of a service that is reached by network: NOTIFY_URLS=ntfy://ntfy.sh/my-topic",
                    docs="get-notified",
                )
            )
        elif not _URL.fullmatch(url):
            problems.append(
                Problem(
                    f"NOTIFY_URLS: entry {number} of {len(urls)} is not a URL",
                    "separate the URLs by spaces, each as apprise writes it: NOTIFY_URLS=ntfy://ntfy.sh/my-topic",
                    docs="get-notified",
                )
            )
    problems += [
        Problem(
            f"{name} is not an http or https URL",
            f"set {name} to the address that the service shows: {name}=https://hc-ping.com/UUID",
            docs="get-notified",
        )
        for name in ("NOTIFY_HEARTBEAT_URL", "BACKUP_PING_URL", "DRILL_PING_URL")
        if values.get(name) and not _HTTP.fullmatch(values[name].strip())
    ]
    found = Watching(
        interval=_positive(values, _ALL["WATCH_INTERVAL"], problems),
        urls=urls,
        level=choice(values, _ALL["NOTIFY_LEVEL"], NOTIFY_LEVELS, problems),
        heartbeat=values.get("NOTIFY_HEARTBEAT_URL", "").strip(),
        heartbeat_interval=_positive(values, _ALL["NOTIFY_HEARTBEAT_INTERVAL"], problems),
        backup_ping=values.get("BACKUP_PING_URL", "").strip(),
        drill_ping=values.get("DRILL_PING_URL", "").strip(),
        listen=_address(values.get("STATUS_LISTEN", "").strip(), problems),
        token=values.get("STATUS_TOKEN", ""),
    )
    return found, problems


def _positive(values: Mapping[str, str], variable: Variable, problems: list[Problem]) -> int:
    found = seconds(values, variable, problems)
    if found:
        return found
    problems.append(Problem(f"{variable.name}=0 is no interval", f"set {variable.name} to 1 or more"))
    return int(variable.default)


def _address(text: str, problems: list[Problem]) -> Address | None:
    if not text:
        return None
    path = text.removeprefix("unix:")
    if path != text and path.startswith("/") and len(path.encode()) < 100:
        return Address("", 0, path)
    found = _ADDRESS.fullmatch(text)
    if found and is_whole(found["port"], 5) and 0 < int(found["port"]) < 65536:
        return Address(found["host"].strip("[]"), int(found["port"]))
    problems.append(
        Problem(
            f"STATUS_LISTEN={text} is not an address to listen at",
            "set it to :9187, 127.0.0.1:9187, [::1]:9187, or unix:/path (fewer than 100 bytes)",
            docs="check-health",
        )
    )
    return None
