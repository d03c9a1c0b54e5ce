"""PID 1 pays for every import: in time at each start, and in memory for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.house import MODULES
from entrypoint import own
from entrypoint.volume import past
from entrypoint.volume.past import Past
from repository import REPOSITORY

HEAVY = """
    asyncio click collections contextlib ctypes dataclasses datetime difflib enum functools inspect jinja2 json logging
    pathlib psutil re shlex shutil signal socket subprocess threading typing urllib
""".split()
"""Modules that a start without an archive does not need, and PID 1 never: 1 ms to 59 ms (jinja2) each."""

IMPORT_START = "import entrypoint.__main__, entrypoint.start.startup"
IMPORT_SUPERVISOR = "import entrypoint.pid1.supervisor"
IMPORT_READY = "import entrypoint.__main__, entrypoint.pid1.ready"

READY = f"""
{IMPORT_READY}
import sys
from entrypoint.__main__ import main

def leave(code, really=entrypoint.__main__.os._exit):
    assert code == 2
    print(*sys.modules, flush=True)
    really(0)

sys.argv[1:] = ["ready"]
sys.stderr = None
entrypoint.__main__.os._exit = leave
entrypoint.pid1.ready.step_down = lambda: None
entrypoint.pid1.status.read = lambda folders: None
main()
"""
"""All modules of a health check that finds no server."""

WARM_START = """
import sys
import entrypoint.__main__, entrypoint.start.startup
from entrypoint.start import plan
from entrypoint.volume import holder, probe
from entrypoint.server import leftover, opening
from entrypoint.collation import remembered
from entrypoint.config import render
from entrypoint.server.context import Context, helper_environment, server_environment
from entrypoint.system.identity import current

values = {"PGDATA": sys.argv[2], "PATH": "/usr/bin:/bin", "PG_MAJOR": "17"}
settings, problems, doubts = opening.read_settings(values, ["-c", "work_mem=4MB"])
assert not problems and not doubts, problems
opening.secret_names(settings.values)
decided = plan.decide(settings, probe.look(settings, current()))
assert decided.kind == plan.START and not decided.refusals, decided
environment = helper_environment(settings, current(), stepped_down=True)
context = Context(settings, None, current(), sys.argv[2], environment)
assert render.arguments(context) == ["-c", "work_mem=4MB", "-c", f"config_file={sys.argv[2]}/postgresql.conf"]
server_environment(settings, environment)
leftover.clear(context, ["-c", "work_mem=4MB", "-k", sys.argv[2]])
holder.lock_folder(settings.data_folder)
remembered.remember_match(context)
assert remembered.is_settled(context)
"""


def _loaded(code: str, *arguments: str) -> set[str]:
    """Return the modules that a fresh interpreter, started like PID 1, has loaded after this code."""
    script = f"import sys\nsys.path.insert(0, sys.argv[1])\n{code}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-IS", "-c", script, str(REPOSITORY), *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return {name.split(".")[0] if not name.startswith("entrypoint") else name for name in done.stdout.split()}


@pytest.mark.parametrize(
    "code", [IMPORT_START, IMPORT_SUPERVISOR, IMPORT_READY], ids=["start", "supervisor", "ready"]
)
def test_expensive_modules_are_not_loaded(code: str) -> None:
    """The start, the supervisor alone and a health check load none of them."""
    assert set() == _loaded(code) & set(HEAVY)


def test_a_warm_start_loads_nothing_more(tmp_path: Path) -> None:
    """This covers the settings up to the server's arguments, on a cluster without an archive."""
    (tmp_path / "PG_VERSION").write_text("17\n")
    assert set() == _loaded(WARM_START, str(tmp_path)) & set(HEAVY)


NOT_SET = (
    *("archivers.walg", "archivers.pgbackrest", "archivers.terms"),
    *("archive.calls", "archive.opened", "archive.shares"),
    *("backup.schedule", "postgres.conninfo", "postgres.segments", "system.capacity", "system.progress"),
    *(
        f"settings.{name}"
        for name in ("archiving", "backing_up", "cron", "following", "rehearsing", "restoring")
    ),
)
"""Modules that a start needs only for an archive, backups, drills, a restore or a standby."""


def test_a_normal_start_loads_no_section_that_is_not_set(tmp_path: Path) -> None:
    """It loads no adapter to find the owner of a variable, and no parser for settings that nobody uses."""
    (tmp_path / "PG_VERSION").write_text("17\n")
    loaded = _loaded(WARM_START, str(tmp_path))
    assert "entrypoint.settings.loading" in loaded
    assert set() == loaded & {f"entrypoint.{name}" for name in NOT_SET}


def test_the_names_of_the_sections_exist() -> None:
    """Without this, the test above would prove nothing."""
    assert set(NOT_SET) <= set(MODULES)


BUDGETS = {"start": 79, "ready": 15, "supervisor": 27}
"""The number of our own modules that a normal start, a health check and PID 1 load, rooms included; raise it only on purpose."""


@pytest.mark.parametrize("name", BUDGETS)
def test_the_number_of_loaded_modules(name: str, tmp_path: Path) -> None:
    """Each module costs a tenth of a millisecond, and a room twice that."""
    (tmp_path / "PG_VERSION").write_text("17\n")
    code = {"start": WARM_START, "ready": READY, "supervisor": IMPORT_SUPERVISOR}[name]
    loaded = _loaded(code, str(tmp_path))
    ours = sorted(each for each in loaded if each.split(".")[0] == "entrypoint")
    assert BUDGETS[name] == len(ours), ours


_UPGRADED = """
from entrypoint.start import helpers
assert [] == helpers._upgraded_helper(context)
"""


def test_a_start_after_an_upgrade_loads_one_module_more(tmp_path: Path) -> None:
    """The note stays for good, so each start reads it; what does the work is loaded only if there is any."""
    (tmp_path / "PG_VERSION").write_text("17\n")
    before = _loaded(WARM_START, str(tmp_path))
    (tmp_path / own.UPGRADED).write_text(
        past.text(Past("15", "17", "7", "copy", "2026-11-30T20:05:00+00:00"))
    )
    more = {name for name in _loaded(WARM_START + _UPGRADED, str(tmp_path)) - before if "entrypoint" in name}
    assert {"entrypoint.volume.past"} == more


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("ARCHIVE_URL", "archiving"),
        ("BACKUP_JITTER", "backing_up"),
        ("DRILL_FOLDER", "rehearsing"),
        ("RESTORE_FROM", "restoring"),
        ("STANDBY", "following"),
    ],
)
def test_a_section_that_is_set_is_loaded(name: str, section: str) -> None:
    """One variable loads its section, even if its value is wrong; otherwise the test above would prove nothing."""
    code = f"""
from entrypoint.settings import loading
loading.load({{"PGDATA": "/data", {name!r}: "x", "ARCHIVE_TOOL": "wal-g"}}, [], {{"wal-g": True, "pgbackrest": True}})
"""
    assert f"entrypoint.settings.{section}" in _loaded(code)


def test_the_supervisor_loads_little() -> None:
    """PID 1 keeps only those of our modules that it needs while the server runs."""
    ours = {name for name in _loaded(IMPORT_SUPERVISOR) if name.startswith("entrypoint")}
    flat = ("errors", "exits", "light", "log", "own", "shown")
    rooms = {
        "pid1": ("brake", "handoff", "lifecycle", "status", "stops", "supervisor"),
        "system": ("children", "kernel", "processes", "signals", "small", "space"),
        "volume": ("ahead", "installing", "notes", "reserve", "room"),
    }
    expected = {"entrypoint", *(f"entrypoint.{name}" for name in (*flat, *rooms))}
    expected |= {f"entrypoint.{room}.{name}" for room, names in rooms.items() for name in names}
    assert expected == ours


def test_loading_is_noticed() -> None:
    """Loaded modules are found; otherwise the tests above would prove nothing."""
    assert {"json", "entrypoint.log"} <= _loaded("import json, entrypoint.log")


@pytest.mark.parametrize("door", ["entrypoint", "gosu"])
def test_the_environment_does_not_reach_the_interpreter(door: str) -> None:
    """Neither PYTHONPATH and site-packages nor the locale change the program's behavior.

    In a locale that is not UTF-8 (LC_ALL=de_DE.ISO-8859-1), a password beyond ASCII would otherwise reach initdb in
    another encoding than it was given in.
    """
    first = (REPOSITORY / "image" / "bin" / door).read_text(encoding="utf-8").partition("\n")[0]
    interpreter, flags = first.split(" ")
    assert "#!/usr/local/lib/nix-postgres/python3" == interpreter
    done = subprocess.run(
        [
            sys.executable,
            flags,
            "-c",
            "import sys; print(sys.flags.isolated, sys.flags.no_site, sys.flags.utf8_mode)",
        ],
        check=True,
        capture_output=True,
        text=True,
        env={"LC_ALL": "C.UTF-8", "PYTHONPATH": "/nowhere"},
    )
    assert "1 1 1\n" == done.stdout
