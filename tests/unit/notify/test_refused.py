"""Reports of refused starts: once for each reason, kept where they can be, and never longer than their limit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from entrypoint import exits, own
from entrypoint.errors import Ended, Failure, Problem
from entrypoint.noted.refusals import RETRY
from entrypoint.notify import flights, refused
from entrypoint.server import opening
from entrypoint.server.context import Context
from entrypoint.system import identity
from entrypoint.system.children import Children
from entrypoint.system.signals import Signals
from unit import made

GONE = Failure(
    Problem("the volume of pa55word is gone", "mount it", exits.ARCHIVE_REFUSED, docs="mount-the-volume")
)


def _context(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, **values: str) -> Context:
    """A start whose sender is a script with its task on stdin."""
    runtime, data = folder / "run", folder / "data"
    runtime.mkdir()
    data.mkdir()
    program = folder / "sender"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(flights, "OUR_PROGRAM", str(program))
    wanted = made.settings({"PGDATA": str(data), "POSTGRES_PASSWORD": "pa55word", **values})
    return Context(wanted, Children(Signals()), identity.current(), str(runtime), {})


URLS = {"NOTIFY_URLS": "json://hook-one.example json://hook-two.example/token-2"}
TAKES = 'cat >"$0-$$"; echo \'{"number": 1, "words": ""}\''


def _sent(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in folder.glob("sender-*")]


def test_one_message_to_each_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the text, the hint and the page, and no secret; a retry sends none, another reason does."""
    context = _context(tmp_path, monkeypatch, TAKES, **URLS)
    for _ in range(3):
        refused.report(context, GONE)
    sent = _sent(tmp_path)
    assert {*URLS["NOTIFY_URLS"].split()} == {each["url"] for each in sent}
    assert 2 == len(sent)
    (message,) = sent[0]["messages"]
    assert message["title"].startswith("ERROR start: ")
    for words in ("exit code 12: the volume of *** is gone", "hint: mount it", "docs: mount-the-volume"):
        assert words in message["body"]
    refused.report(context, Failure(Problem("a setting is wrong", "set it")))
    assert 4 == len(_sent(tmp_path))
    (known, _) = refused.read(context)
    assert ("the volume of *** is gone", 3) == (known.what, known.times)


def test_where_it_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the cluster if there is one that no other server uses; else in the runtime folder; then forgotten."""
    context = _context(tmp_path, monkeypatch, TAKES, **URLS)
    there, here = tmp_path / "data" / own.REFUSED, tmp_path / "run" / opening.REFUSED
    refused.report(context, GONE)
    assert (False, True) == (there.exists(), here.exists())
    here.unlink()
    made.cluster(tmp_path / "data")
    refused.report(context, Failure(Problem("in use", "stop it", exits.VOLUME_IN_USE)))
    assert (False, True) == (there.exists(), here.exists())
    here.unlink()
    refused.report(context, GONE)
    assert (True, False) == (there.exists(), here.exists())
    assert 0o600 == there.stat().st_mode & 0o777
    refused.forget(context)
    assert () == refused.read(context)


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 9999, b"\xff\x00", b"x" * 100_000])
def test_a_file_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    """Whatever is in the file's place, nothing is known, and the message is sent."""
    context = _context(tmp_path, monkeypatch, TAKES, **URLS)
    (tmp_path / "run" / opening.REFUSED).write_bytes(text)
    refused.report(context, GONE)
    assert 2 == len(_sent(tmp_path))


def test_what_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wanted end, a start next to this container's server, and arguments that make it no server."""
    context = _context(tmp_path, monkeypatch, TAKES, **URLS)
    refused.report(context, Ended(0))
    (tmp_path / "run" / "status").write_text("phase serving 1 -\n")
    refused.report(context, GONE)
    (tmp_path / "run" / "status").unlink()
    wanted = context.settings
    asks = wanted.server._replace(prints_a_setting=True)
    refused.report(context._replace(settings=wanted._replace(server=asks)), GONE)
    assert [] == _sent(tmp_path)
    refused.report(context, Ended(3))
    refused.report(context, OSError(28, "No space left on device", "/data"))
    refused.report(context, TypeError("secret"))
    whats = [each.what for each in refused.read(context)]
    assert "exit code 3" in whats[0]
    assert "No space left on device" in whats[1]
    assert whats[2].endswith("unexpected error: TypeError")


def test_a_heartbeat_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service that waits for heartbeats gets the reason, once."""
    url = "https://hc-ping.com/beat-uuid"
    context = _context(tmp_path, monkeypatch, TAKES.replace("1,", "0,"), NOTIFY_HEARTBEAT_URL=url)
    for _ in range(2):
        refused.report(context, GONE)
    (sent,) = _sent(tmp_path)
    assert f"{url}/fail" == sent["url"]
    assert "the volume of *** is gone" in str(sent["body"])


def test_targets_that_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each is a line in the log without secrets; if none has taken the message, a later start tries again."""
    context = _context(tmp_path, monkeypatch, TAKES.replace('""', '"refused: 403"'), **URLS)
    for _ in range(2):
        refused.report(context, GONE)
    lines = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    assert 2 == len(lines)
    assert all("has not taken the message about this: refused: 403" in line for line in lines)
    assert "token-2" not in "".join(lines)
    (known,) = refused.read(context)
    monkeypatch.setattr(time, "time", lambda: known.tried + RETRY)
    refused.report(context, GONE)
    assert 4 == len(_sent(tmp_path))


def test_a_target_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is waited for as long as the limit says, and the others have their message."""
    hangs = f'read -r task; case $task in *token-2*) sleep 20 ;; esac; printf %s "$task" | ({TAKES})'
    context = _context(tmp_path, monkeypatch, hangs, **URLS)
    monkeypatch.setattr(refused, "_SECONDS", 1.0)
    refused.report(context, GONE)
    assert "json:// has not" not in (said := capfd.readouterr().err)
    assert "json://hook-two.example has not taken the message about this: no answer within 1 s" in said
    assert 1 == len(_sent(tmp_path))
    (known,) = refused.read(context)
    assert known.heard


def test_a_stop_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the report, and the senders with it; the message is tried again later."""
    context = _context(tmp_path, monkeypatch, 'echo $$ >"${0%/*}/pid"; exec sleep 600', **URLS)

    def stop() -> None:
        deadline = time.monotonic() + 20
        while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(refused, "_SECONDS", 600.0)
    thread = threading.Thread(target=stop)
    thread.start()
    refused.report(context, GONE)
    thread.join()
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
    (known,) = refused.read(context)
    assert not known.heard


def test_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is sent all the same."""
    context = _context(tmp_path, monkeypatch, TAKES, **URLS)
    shutil.rmtree(tmp_path / "run")
    refused.report(context, GONE)
    assert 2 == len(_sent(tmp_path))
