"""The pages of `docs/reference/` that follow from the program; `make reference` writes them there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, pairwise
from pathlib import Path
from types import ModuleType

import click

from docs import messages
from entrypoint import exits, own
from entrypoint.archive import calls
from entrypoint.archivers import pgbackrest, terms, walg
from entrypoint.backup import turn
from entrypoint.cli import group
from entrypoint.cli.grouping import called
from entrypoint.config import from_patroni, rendered
from entrypoint.doctor.look import archive, databases, disk, memory, nodes, notifying, places, secrets, server
from entrypoint.doctor.sight import Check
from entrypoint.logs import places as logs
from entrypoint.pid1 import brake, ready, status
from entrypoint.server import context as contexts
from entrypoint.server import login, opening
from entrypoint.settings import (
    archiving,
    backing_up,
    failing_over,
    following,
    rehearsing,
    restoring,
    serving,
    starting,
    upgrading,
    watching,
)
from entrypoint.settings.fields import Variable
from entrypoint.topics import PATHS, TOPICS
from entrypoint.web import metric_list

FOLDER = Path(__file__).with_suffix("")


def _see(*names: str) -> str:
    """Return a sentence that links to pages, each named by its path below docs/ without `.md`."""
    links = []
    for name in names:
        title = (FOLDER.parent / f"{name}.md").read_text(encoding="utf-8").splitlines()[0]
        links.append(f"[{title.removeprefix('# ')}](../{name}.md)")
    return f"See {' and '.join(links)}."


_NOTE = "<!-- `make reference` writes this page, from the program and docs/reference.py. -->"

_ABOUT_VARIABLES = """\
“Set” means not empty. A variable that is marked with † can also be given as `NAME_FILE`, which names a file
that holds the value, for example a secret. A start reports all mistakes at once, before it touches anything.

Three kinds of variables are not listed here. `POSTGRES_CONF_<setting>` sets a setting of the server, see
[Configure the server](../how-to/configure-the-server.md). The archivers have their own variables, such as
`WALG_*`, `PGBACKREST_*` and `AWS_*`, see [Set up archiving](../how-to/set-up-archiving.md). Patroni
has its own as well, `PATRONI_*`, each also as `NAME_FILE`: [Fail over by itself](../how-to/fail-over.md)."""

_ABOUT_COMMANDS = """\
Run a command in the running container, as root or as postgres: `docker exec db entrypoint status`. These also
work in a container of their own (`docker run … doctor`): `doctor`, `config show`, `render`, `restore`,
`archive push-pending`, and `backup list`, `show`, `verify` and `drill`.

`docker exec db entrypoint help` lists the commands, and `entrypoint help COMMAND` or `entrypoint COMMAND
--help` explains one. `entrypoint help PAGE` prints a how-to page: the image contains the pages that messages
name below their hints (`docs: PAGE`). If the command line is wrong, a command ends with exit code 2.

The image runs any other command as it is (`docker run … bash`). Options of the container go to `postgres`, as
in the official image: `docker run … --help` and `docker run … --version` print the help and the version of
`postgres`, also with an init (`docker run --init …`). In a running container, `docker exec db entrypoint
--help` (or `-h`, `-?`) and `--version` (or `-V`) print those of `entrypoint`. Two cases need care:

- `docker run … bash -c 'entrypoint --help'` prints the help of `postgres`, since bash becomes the command.
- In containers that share their processes (`shareProcessNamespace` in Kubernetes, `--pid=host`), nothing sets
  the main process apart, so `--help` as the container's argument prints the help of `entrypoint`.

`entrypoint help` and `postgres --help` are unambiguous everywhere."""

_ABOUT_READY = """\
See [Check health](../how-to/check-health.md), and the
[exit codes](exit-codes.md#entrypoint-ready) in full."""

_ABOUT_CHECKS = """\
`entrypoint doctor` makes all of these checks, `entrypoint doctor NAME…` only those that you name.
`entrypoint doctor --explain` prints what they look at. Doctor works with the server up, down or not yet
created, in the running container (`docker exec`) or in one of its own (`docker run … doctor`). It changes
nothing. It writes one small object to the archive, and removes it again.

Each finding has a level, what was found, why it matters and what to do. Doctor spends ten seconds on the
databases, which is enough for some hundreds. It names those that it had no time for, with the command that
looks at them (`entrypoint doctor --seconds 60 collations`)."""

_ABOUT_METRICS = """\
What `/metrics` contains if `STATUS_LISTEN` is set, see [Monitor with
Prometheus](../how-to/monitor-with-prometheus.md). A value that is not known is absent, never 0. All values
are of the last look of the watch, except for `pg_up`, `nixpg_ready` and `nixpg_phase`, which are of the
moment. A name that begins with `pg_` or `cnpg_` is that of postgres_exporter or CloudNativePG, and means the
same. Databases, slots and states are at most 200 each. `repo` is always `1`, since there is one archive.

Under Patroni, the answer also contains [Patroni's own
metrics](https://patroni.readthedocs.io/en/latest/rest_api.html) of this moment, under their own names
(`patroni_primary`, `patroni_dcs_last_seen`, `patroni_is_paused` …). If Patroni does not answer within two
seconds, they are absent, and `nixpg_patroni_up` is 0.

The watch makes checks every `WATCH_INTERVAL` seconds, measures the sizes of the databases every ten minutes,
and lists the backups every 60 intervals and after each backup, drill and restore."""

_ABOUT_EXIT_CODES = """\
The container ends with one of these codes, or with the code of what failed: postgres, initdb, psql, an init
file or a start file."""

_ABOUT_FILES = """\
Nothing in the data folder is hidden, so `rm -rf data/*` removes these files together with the cluster. A data
folder that holds nothing else counts as empty, and a start removes them. The entrypoint never writes such a
file into a folder that was emptied, nor next to a cluster that the file is not about. Earlier versions put a
dot in front of these names; a start renames what it finds. You can remove all of them when you move to
another image."""

_ABOUT_RUNTIME = f"""\
In the first of {", ".join(f"`{folder}`" for folder in status.RUNTIME_FOLDERS)} that the server's user owns.
Only that user and root can read it. Each start writes its files again, so a tmpfs is fine."""

_ABOUT_MESSAGES = f"""\
Every message that the entrypoint can log or that `entrypoint doctor` can print, by part of the program.
`{messages.ELLIPSIS}` stands for what only the running program knows. A message looks like this:

```text
entrypoint: error: what is wrong, and what was found
  hint: the command, variable or action that fixes it
  docs: name-of-a-page
```

`docs:` names one of [the how-to guides](../index.md), which `docker exec db entrypoint help name-of-a-page`
prints. A message of a helper of PID 1 begins with its role: `backups: entrypoint: info: …`. Messages of
PostgreSQL and of the archivers are not listed."""

_VARIABLES: tuple[tuple[str, str, tuple[Variable, ...]], ...] = (
    ("As in the official image", "These mean what they mean there.", starting.OFFICIAL),
    ("Starting", _see("how-to/run-scripts-at-every-start", "how-to/install-extensions"), starting.OURS),
    ("The server", _see("how-to/configure-the-server"), serving.SERVER),
    ("Archiving", _see("how-to/set-up-archiving", "reference/archivers"), archiving.VARIABLES),
    ("Backups", _see("how-to/schedule-backups", "explanation/backups"), backing_up.VARIABLES),
    ("Drills", _see("how-to/rehearse-restores"), rehearsing.VARIABLES),
    ("Restores", _see("how-to/restore-a-lost-volume", "how-to/restore-to-a-moment"), restoring.VARIABLES),
    ("Standbys", _see("how-to/run-a-standby"), following.VARIABLES),
    ("Upgrades", _see("how-to/upgrade-to-a-newer-major"), upgrading.VARIABLES),
    ("Messages, probes and metrics", _see("how-to/get-notified", "how-to/check-health"), watching.VARIABLES),
    ("Fail-over by Patroni", _see("how-to/fail-over"), failing_over.VARIABLES),
    (
        "Collations, and stopping",
        _see("how-to/fix-collations", "explanation/stopping"),
        serving.POLICIES,
    ),
)

_CHECKS: tuple[tuple[str, tuple[Check, ...]], ...] = (
    ("Start and server", server.CHECKS),
    ("Fail-over", nodes.CHECKS),
    ("Folders and mounts", places.CHECKS),
    ("Free space", disk.CHECKS),
    ("Memory, processors and kernel", memory.CHECKS),
    ("Archive, backups and drills", archive.CHECKS),
    ("Databases", databases.CHECKS),
    ("Secrets", secrets.CHECKS),
    ("Messages", notifying.CHECKS),
)

_RUNTIME_FILES = {
    "status": "What PID 1 does now, read by `entrypoint status`, `ready` and `doctor`.",
    opening.REFUSED: "As `entrypoint.refused`, if the data folder holds no cluster. A start keeps it.",
    "next-backups": "When the next scheduled backup is due.",
    "next-drills": "When the next scheduled drill is due.",
    contexts.SETTINGS_FILE: "The variables that commands inside the container use, without secrets.",
    "postgresql.conf": "The server's `config_file`: it includes the cluster's own and what variables set.",
    brake.ACTIVE: "The settings while the disk is about to be full; empty otherwise.",
    "full-disk.LEVEL.conf": "These settings for each level, prepared at the start.",
    rendered.CHOSEN_FILE: "The settings that the entrypoint chose, for example by `POSTGRES_TUNE`.",
    f"{logs.FOLDER}/": "The pipes of the server's log, with `STATUS_LOG_FORMAT=json`.",
    "pg_hba.conf": "The access rules of a temporary server.",
    from_patroni.CONFIGURATION: "Patroni's configuration with its secrets, which `patronictl` reads.",
    "patroni/": "The server's configuration as Patroni writes it, and its passwords for other nodes.",
    f"{status.FIRST_START}, {status.FIRST_START}.json": "While Patroni creates the cluster on this node.",
    login.PASSWORDS: "The superuser's password for later connections, if `pg_hba.conf` asks for one.",
    pgbackrest.PgBackRest.config_name: "pgBackRest's settings with its secrets.",
    f"{pgbackrest.PgBackRest.work_folder}/": "pgBackRest's spool, lock and log folders.",
    walg.WalG.config_name: "wal-g's settings with its secrets.",
    "wal-g.socket": "The socket of `wal-g daemon`.",
    "tablespaces.json": "Where a restore puts tablespaces, for wal-g.",
    calls.ARCHIVED: "The name of the last archived segment.",
    calls.FAILING: "During an outage: the archiver's reason, and when the outage began.",
    calls.WORDS: "The archiver's output of the last failed call; `archive-words.new`: of the present call.",
    calls.PREPARE: "What a start could not do because the storage was away; the first segment does it.",
    calls.ONE_BY_ONE: "For ten minutes after a call missed its deadline: one segment is sent at a time.",
    calls.DROP: "While WAL is to be given up, with `ARCHIVE_WHEN_FULL=drop`: the disk is nearly full.",
    calls.DROPPING: "While WAL is given up: when the storage is tried next.",
    "standby-waits": "The segment that a standby waits for, to notice that it stands before a gap.",
    calls.LOOK: "How to look for another server that was promoted.",
    calls.MARK: "The path by which a local archive is recognized.",
    calls.CLAIM: "What to do if that path is missing.",
    calls.ASK: "How to ask the archive whether later segments exist.",
    "fetch-*, fetched, read-to-end, ended-early, stored, later": "Notes of one recovery.",
    "archive-changed": "How `archive_command` has changed since the start.",
    turn.LOCK: "Held by the backup or drill that runs now.",
    "collation.lock": "Held by the `collation fix` that runs now.",
    "round-trip.lock": "Held by the `archive check` that runs now.",
    "collation/, drill/, check-PID/": "While a collation check, a drill or a check of the settings runs.",
}
"""The runtime folder's files, and what they hold."""

_PASSED_ON = {
    0: "The server was asked to stop and did.",
    3: "An SQL error in an init file or a start file.",
}
"""Codes of postgres and psql that have a meaning of their own here."""

_MORE = {
    "UNFINISHED_FIRST_START": "finish-a-first-start",
    "VOLUME_IN_USE": "mount-the-volume",
    "ARCHIVE_REFUSED": "fix-archiving",
    "UNFINISHED_RESTORE": "restore-a-lost-volume",
    "COLLATION_CHANGED": "fix-collations",
    "SUPERSEDED": "resolve-two-writers",
}
"""The page in docs/how-to/ that says what to do about an exit code."""


def pages() -> dict[str, str]:
    """Return the text of each page by the name of its file."""
    return {
        "variables.md": _page(_variables()),
        "commands.md": _page(_commands()),
        "checks.md": _page(_checks()),
        "metrics.md": _page(_metrics()),
        "exit-codes.md": _page(_exit_codes()),
        "files.md": _page(_files()),
        "messages.md": _page(_messages()),
    }


def _page(blocks: Iterable[str]) -> str:
    """Return blocks of Markdown as a page."""
    title, *rest = blocks
    return "\n\n".join((title, _NOTE, *rest)) + "\n"


def _table(head: str, rows: Iterable[Iterable[str]]) -> str:
    """Return a table with these words above its columns."""
    words = head.split(", ")
    lines = (words, ["---"] * len(words), *([cell.replace("|", r"\|") for cell in row] for row in rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _variables() -> Iterator[str]:
    yield "# Variables"
    yield _ABOUT_VARIABLES
    for title, more, section in _VARIABLES:
        yield f"## {title}"
        yield more
        yield _table(
            "variable, default, what it does",
            ([_marked(each), _default(each.default), each.doc] for each in section),
        )


def _marked(variable: Variable) -> str:
    return f"`{variable.name}` †" if variable.from_file else f"`{variable.name}`"


def _default(text: str) -> str:
    """Return a value as code, and words as words."""
    return f"`{text}`" if re.fullmatch(r"\S+", text) else text


def _commands() -> Iterator[str]:
    yield "# Commands"
    yield _ABOUT_COMMANDS
    top = click.Context(group, info_name="entrypoint", terminal_width=78, **group.context_settings)
    commands = {path: called(top, path.split()) for path in PATHS}
    for title, paths in TOPICS:
        rows = (
            f"- [`entrypoint {path}`](#entrypoint-{path.replace(' ', '-')}): "
            + commands[path].command.get_short_help_str(200)
            for path in paths
        )
        yield f"**{title}**"
        yield "\n".join(rows)
    for title, paths in TOPICS:
        yield f"## {title}"
        for path in paths:
            yield f"### entrypoint {path}"
            yield f"```text\n{commands[path].get_help()}\n```"
            if path == "ready":
                yield _ABOUT_READY


def _checks() -> Iterator[str]:
    yield "# Checks of doctor"
    yield _ABOUT_CHECKS
    for title, checks in _CHECKS:
        yield f"## {title}"
        yield _table(
            "check, what it looks at, why, page",
            ([f"`{each.name}`", each.looks_at, each.why, _how_to(each.docs)] for each in checks),
        )


def _metrics() -> Iterator[str]:
    yield "# Metrics"
    yield _ABOUT_METRICS
    yield _table(
        "metric, type, labels, value",
        (
            [f"`{name}`", each.kind, ", ".join(f"`{label}`" for label in each.labels), each.text]
            for name, each in metric_list.METRICS.items()
        ),
    )


def _how_to(name: str) -> str:
    """Return a link to a page in docs/how-to/, or nothing without a name."""
    return f"[{name}](../how-to/{name}.md)" if name else ""


def described(module: ModuleType) -> dict[str, str]:
    """Return what a module says below each of its constants."""
    body = ast.parse(Path(f"{module.__file__}").read_text(encoding="utf-8")).body
    found = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value)
            found[ast.unparse(node.targets[0])] = " ".join(text.split())
    return found


def _exit_codes() -> Iterator[str]:
    yield "# Exit codes"
    yield "## The container"
    yield _ABOUT_EXIT_CODES
    ours = {
        getattr(exits, name): text + (f" {_see(f'how-to/{_MORE[name]}')}" if name in _MORE else "")
        for name, text in described(exits).items()
        if not name.startswith("DOCTOR_")
    }
    yield _codes(_PASSED_ON | ours)
    yield "## entrypoint doctor"
    judged = {name: text for name, text in described(exits).items() if name.startswith("DOCTOR_")}
    yield _codes({0: "All is well."} | {getattr(exits, name): text for name, text in judged.items()})
    yield "## entrypoint ready"
    asked = {name: text for name, text in described(ready).items() if name[0] != "_"}
    yield _codes({getattr(ready, name): text for name, text in asked.items()})


def _codes(meanings: Mapping[int, str]) -> str:
    return _table("code, meaning", ([_code(code), text] for code, text in sorted(meanings.items())))


def _files() -> Iterator[str]:
    yield "# Files"
    yield _ABOUT_FILES
    for title, about, files in _places():
        yield f"## {title}"
        yield about
        yield _table("file, what it holds", ([f"`{name}`", text] for name, text in files))


def _places() -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Yield each place with its files."""
    here = described(own)
    kept = (
        "ARCHIVE",
        "BACKUPS",
        "COLLATION",
        "COVERAGE",
        "DRILLS",
        "FORK",
        "INIT",
        "NOTIFY",
        "READ",
        "STOPS",
        "UPGRADE",
        "UPGRADED",
        "UNFINISHED",
        "FINISHED",
    )
    yield (
        "In the data folder",
        "In `PGDATA`.",
        [
            *((getattr(own, name), here[name]) for name in kept),
            (f"{own.PREFIX}{calls.FAILING}", f"As `{calls.FAILING}` below, if the runtime folder is full."),
            (f"{own.PREFIX}{calls.WORDS}", f"As `{calls.WORDS}` below, if the runtime folder is full."),
            (f"{own.ASIDE_PREFIX}TIME/", here["ASIDE_PREFIX"]),
            (f"pg_wal/{own.WAL_CHECK}/", here["WAL_CHECK"]),
            (f"pg_wal/{own.RESERVE}/", here["RESERVE"]),
            (own.FREED, here["FREED"]),
        ],
    )
    yield (
        "In DRILL_FOLDER",
        "Next to anything else that is there.",
        [(f"{own.DRILL_SCRATCH}/", here["DRILL_SCRATCH"])],
    )
    yield "In the runtime folder", _ABOUT_RUNTIME, list(_RUNTIME_FILES.items())
    yield (
        "In the archive",
        "Everything else there belongs to the archiver.",
        [(terms.IDENTITY, "With wal-g: the system identifier of the cluster that the archive belongs to.")],
    )


def _messages() -> Iterator[str]:
    yield "# Messages"
    yield _ABOUT_MESSAGES
    for room, found in groupby(messages.messages(), lambda message: message.room):
        yield f"## {room}"
        yield _table("level, message, hint, page", (_message(each) for each in found))


def _message(each: messages.Message) -> list[str]:
    hint = "" if each.hint == messages.ELLIPSIS else _escaped(each.hint)
    return [each.level, _escaped(each.text), hint, _how_to(each.docs)]


def _escaped(text: str) -> str:
    """Return a text without what Markdown would take for more than text."""
    return re.sub(r"([\\*<>`\[\]])", r"\\\1", text)


def _code(number: int) -> str:
    return f"`{number}` + signal" if number == exits.SIGNAL_BASE else f"`{number}`"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
