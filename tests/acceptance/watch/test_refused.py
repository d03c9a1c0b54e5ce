"""A start that is refused is one message, however often it is tried again; and so is the start that then serves."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

import archives
import containers
import s3
from containers import FRESH, Container, data_folder, until
from sinks import Web, web

_SECRETS = ("geheim-31", "hook-7f3d")
_PATIENCE = 45
_RETRIES = 3


@pytest.fixture
def heard() -> Iterator[Web]:
    """A server that gets messages."""
    with web(s3.bridge()) as made:
        yield made


def _environment(place: str, **more: str) -> dict[str, str]:
    urls = f"json://me:hook-7f3d@{place}/messages"
    return {**FRESH, "POSTGRES_PASSWORD": "geheim-31", "WATCH_INTERVAL": "1", "NOTIFY_URLS": urls, **more}


def _about_starts(heard: Web) -> list[tuple[str, str]]:
    """The begin of the title and the text of each message about a start."""
    found = [(each["title"].partition(":")[0], each["message"]) for each in heard.messages()]
    return [(title, text) for title, text in found if title.endswith(" start")]


def _is_tried_again(server: Container, words: str, code: int) -> None:
    """Docker starts it again and again, and each time it is refused for this reason."""
    server.begin()
    until(
        lambda: server.logs().stderr.count(words) > _RETRIES and not server.running, "all retries", _PATIENCE
    )
    assert (code, 1 + _RETRIES) == (server.state["ExitCode"], server.logs().stderr.count(words))


def _serves(server: Container, heard: Web, words: str, kept_in: str) -> None:
    """The cause is gone: people hear once that this is over, and nothing is remembered."""
    server.again()
    until(lambda: len(_about_starts(heard)) > 1, "the message of its end", _PATIENCE)
    until(lambda: "" == server.shell(f"ls {kept_in} 2>/dev/null; true", user="0"), "it is forgotten")
    (title, first), (end, last) = _about_starts(heard)
    assert ("ERROR start", "ENDED start") == (title, end)
    assert words in first
    assert "hint: " in first
    assert f"it was: {1 + _RETRIES} starts were refused: {words}" in last
    assert 1 == server.logs().stderr.count(f"start: ended: {1 + _RETRIES} starts were refused: {words}")
    heard.taken.clear()


def test_a_loop_of_starts(heard: Web) -> None:
    """With a cluster of another major version, and then with a volume that is lost although its archive is there."""
    with containers.volume() as place, containers.volume() as data:
        archive, options = (
            archives.Archive("pgbackrest", place, None, ""),
            ("--restart", f"on-failure:{_RETRIES}"),
        )
        with archive.create(
            _environment(heard.place), volumes={data_folder(): data}, options=options
        ) as server:
            server.again()
            major = server.shell('cat "$PGDATA/PG_VERSION"')
            server.exec("entrypoint", "backup", "push", timeout=60)
            assert 0 == server.stop()

            containers.in_volume(data, "echo 9 >PG_VERSION")
            other = "the data is from PostgreSQL 9"
            _is_tried_again(server, other, 1)
            assert "" != containers.in_volume(data, "cat entrypoint.refused")
            containers.in_volume(data, f"echo {major} >PG_VERSION")
            _serves(server, heard, other, f"{data_folder()}/entrypoint.refused")
            assert 0 == server.stop()

            containers.in_volume(data, "find . -mindepth 1 -delete")
            lost = "the volume is empty, but the archive file:///archive holds 1 backup"
            _is_tried_again(server, lost, 12)
            assert "" == containers.in_volume(data, "ls -A")
            containers.in_volume(place, "find . -mindepth 1 -delete")
            _serves(server, heard, lost, "/run/entrypoint/refused")
            written = server.logs().output + server.shell(f"cat {data_folder()}/entrypoint.watch", user="0")
            assert [] == [each for each in _SECRETS if each in written]


def test_a_target_that_hangs() -> None:
    """It is asked by the server's user; a stop signal ends the wait, and the next attempt does not wait at all."""
    with socket.create_server((s3.bridge(), 0)) as silent:
        silent.settimeout(_PATIENCE)
        place = "{}:{}".format(*silent.getsockname())
        with containers.create(env=_environment(place, STOP_FAST_TIMEOUT="soon")) as server:
            server.begin()
            with silent.accept()[0]:
                users = containers.docker("top", server.name, "-eo", "pid,uid,args").stdout.splitlines()
                assert ["999"] == [line.split()[1] for line in users if "internal notify" in line]
                assert 1 == server.stop("TERM")
            assert 1 == server.finish().code
            silent.settimeout(0)
            with pytest.raises(BlockingIOError):
                silent.accept()
            said = server.logs()
            assert 2 == said.stderr.count("entrypoint: error: ")
            assert [] == [
                each for each in ("no answer within", "hook-7f3d", "geheim-31") if each in said.output
            ]
