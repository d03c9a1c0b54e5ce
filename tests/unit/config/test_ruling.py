"""The settings of a recovery: the present ones count, not those in the files of a backup."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from entrypoint.config import ruling
from entrypoint.errors import Failure
from entrypoint.postgres import ruled
from entrypoint.server.context import Context
from entrypoint.server.data_folder import forget_original
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from unit import made


def _context(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    *arguments: str,
    alter: Sequence[str] = (),
    folder: Sequence[str] = (),
    **values: str,
) -> Context:
    """Return the context of a cluster of PostgreSQL 15 whose file includes another with a target and a delay."""
    conf = data.parent / f"{data.name}.d"
    conf.mkdir(exist_ok=True)
    (conf / "a.conf").write_text("\n".join(folder))
    monkeypatch.setattr("entrypoint.config.collect.CONF_FOLDER", str(conf))
    (data / "PG_VERSION").write_text("15\n")
    (data / "postgresql.conf").write_text("include 'more.conf'\n")
    (data / "more.conf").write_text("recovery_target_time = '2020-01-01'\nrecovery_min_apply_delay = 8h\n")
    (data / "postgresql.auto.conf").write_text("\n".join(["# Do not edit", *alter, ""]))
    return Context(
        settings=made.settings({"PGDATA": str(data), **values}, arguments),
        children=cast("Children", None),
        who=current(),
        runtime_folder=str(data / "run"),
        environment={},
    )


@pytest.mark.parametrize("major", [14, 15, 16, 17, 18])
def test_every_version_knows_the_settings_that_it_gets(major: int) -> None:
    """A server refuses to start with an unknown setting."""
    found = ruled.neutral(major)
    assert (major >= 15, major >= 17, major <= 15) == tuple(
        name in found for name in ("recovery_prefetch", "sync_replication_slots", "promote_trigger_file")
    )
    assert set(ruled.TARGETS) < set(found)


def test_no_empty_target_follows_the_wanted_one() -> None:
    """This holds for every order of the settings, since an empty target would make PostgreSQL drop the wanted one."""
    for wanted, *others in itertools.permutations(ruled.TARGETS):
        found = ruled.words({wanted: "x", "hot_standby": "on", **dict.fromkeys(others, "")})
        assert f"{wanted}=x" == found[-1]


def test_a_restore_gets_nothing_of_the_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Old settings are neutralized and reported; present ones count, except a delay."""
    context = _context(
        tmp_path,
        monkeypatch,
        *("-c", "recovery_prefetch=off"),
        alter=["recovery_end_command = 'rm KEY'"],
        folder=["archive_cleanup_command = 'now'", "recovery_min_apply_delay = 1h"],
    )
    found = ruling.for_restore(context, {"restore_command": "ours", "recovery_target_xid": "7"})
    expected = {
        **ruled.neutral(15),
        "archive_cleanup_command": "now",
        "recovery_prefetch": "off",
        "restore_command": "ours",
        "recovery_target_xid": "7",
    }
    assert expected == found
    said = capfd.readouterr().err
    for words in ("more.conf:1: recovery_target_time = 2020-01-01", "auto.conf:2: recovery_end_command\n"):
        assert words in said
    assert ("a.conf:2: recovery_min_apply_delay = 1h" in said, "KEY" in said) == (True, False)


def test_a_standby_gets_nothing_of_the_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Present settings are repeated only if ALTER SYSTEM would win, and a password never is."""
    ours = {"primary_conninfo": "host=a password=b", "restore_command": "ours", "hot_standby": "on"}
    asked: Mapping[str, str] = {"POSTGRES_CONF_recovery_min_apply_delay": "1h"}
    context = _context(tmp_path, monkeypatch, **asked)
    found, idle, conninfo = ruling.for_standby(context, ours, follows_ours=True)
    assert "host=a password=b" == conninfo
    neutral = ruled.neutral(15)
    assert set(neutral) - {"primary_conninfo", "recovery_min_apply_delay"} == set(found)
    assert ["recovery_target_time", "recovery_min_apply_delay"] == [each.name for each in idle]
    altered = _context(tmp_path, monkeypatch, alter=["recovery_min_apply_delay = 9h"], **asked)
    found, *_ = ruling.for_standby(altered, ours, follows_ours=True)
    assert "1h" == found["recovery_min_apply_delay"]
    outside = tmp_path.parent / f"{tmp_path.name}.outside"
    outside.write_text(f"recovery_min_apply_delay = 3h\ninclude '{tmp_path}/postgresql.conf'\n")
    included = _context(tmp_path, monkeypatch, "-c", f"config_file={outside}")
    found, *_ = ruling.for_standby(included, {}, follows_ours=True)
    assert "3h" == found["recovery_min_apply_delay"]
    given = _context(tmp_path, monkeypatch, "-c", "recovery_min_apply_delay=2h")
    found, *_ = ruling.for_standby(given, {}, follows_ours=False)
    assert set(neutral) - {*ruled.CONNECTION, "recovery_min_apply_delay"} == set(found)


@pytest.mark.parametrize("place", ["argument", "folder", "file"])
def test_another_target_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """A present target is refused, and the hint names the variable; a file in the data folder does not count."""
    ruling.refuse_targets(_context(tmp_path, monkeypatch, "-c", "recovery_target_xid="))
    file = tmp_path.parent / f"{tmp_path.name}.conf"
    file.write_text("recovery_target_name = 'x'\n")
    words = {
        "argument": ("-c", "recovery_target_name=x"),
        "file": ("-c", f"config_file={file}"),
    }.get(place, ())
    folder = ["recovery_target_name = x"] if place == "folder" else []
    with pytest.raises(Failure, match="sets recovery_target_name = x") as caught:
        ruling.refuse_targets(_context(tmp_path, monkeypatch, *words, folder=folder))
    assert "RESTORE_TARGET_NAME" in caught.value.problems[0].hint
    inside = _context(tmp_path, monkeypatch, "-c", f"config_file={tmp_path}/postgresql.conf")
    ruling.refuse_targets(inside)


def test_a_conninfo_with_a_password_wins_over_alter_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the old one is removed from the file; without a password, ours is an argument."""
    lines = ["primary_conninfo = 'host=old password=x'", "work_mem = 8MB", "primary_conninfo = 'host=old2'"]
    context = _context(tmp_path, monkeypatch, alter=lines)
    before = (tmp_path / "postgresql.auto.conf").read_text()
    ruling.forget_conninfo(context, "host=a user=b")
    assert before == (tmp_path / "postgresql.auto.conf").read_text()
    ruling.forget_conninfo(context, "host=a password=b")
    assert "# Do not edit\nwork_mem = 8MB\n" == (tmp_path / "postgresql.auto.conf").read_text()


def test_a_recovery_conf_is_put_aside(tmp_path: Path) -> None:
    """No server since PostgreSQL 12 starts with such a file; it is not ours, so it is only renamed."""
    (tmp_path / "recovery.conf").write_text("standby_mode = on\n")
    forget_original(str(tmp_path))
    assert ["recovery.conf.unused"] == [each.name for each in tmp_path.iterdir()]
