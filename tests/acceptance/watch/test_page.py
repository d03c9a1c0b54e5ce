"""The page of a real server: it says whether people can sleep, and its commands restore the moment that was picked."""

from __future__ import annotations

import html
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import urlencode

import pytest

import containers
from containers import FRESH, LABEL, RUN, Container

TOKEN = "a token"
ENV = {
    **FRESH,
    "ARCHIVE_URL": "file:///archive",
    "ARCHIVE_TOOL": "pgbackrest",
    "ARCHIVE_TIMEOUT": "1",
    "BACKUP_SCHEDULE": "0 3 * * *",
    "STATUS_LISTEN": ":9187",
    "STATUS_TOKEN": TOKEN,
    "WATCH_INTERVAL": "1",
}


@pytest.fixture(scope="module")
def watched() -> Iterator[Container]:
    """A server with an archive, a first backup, and a page."""
    with (
        containers.volume() as archive,
        containers.volume() as data,
        containers.serve(env=ENV, volumes={"/archive": archive, containers.data_folder(): data}) as container,
    ):
        yield container


def _page(container: Container, **query: str) -> tuple[str, dict[str, str]]:
    """The text of the page and the headers, as a browser of somebody with the token gets them."""
    manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    address = f"http://{container.address}:9187/"
    manager.add_password(None, address, "me", TOKEN)
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
    with opener.open(f"{address}?{urlencode(query)}", timeout=20) as answer:
        return answer.read().decode(), dict(answer.headers)


def _shows(container: Container, words: str) -> str:
    """Wait until the page shows the words."""
    text = ""

    def look() -> bool:
        nonlocal text
        with suppress(urllib.error.URLError):
            text = _page(container)[0]
        return words in text

    try:
        containers.until(look, words, 60)
    except AssertionError:
        raise AssertionError(f"{words}\n{text}\n{container.logs().output}") from None
    return text


def test_a_healthy_server(watched: Container) -> None:
    """With a backup in the archive, the page shows what can be restored, under its policy, to those with the token."""
    _shows(watched, "The moments that can be restored")
    _, headers = _page(watched)
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "no-store" == headers["Cache-Control"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"http://{watched.address}:9187/", timeout=20)


def test_many_at_once(watched: Container) -> None:
    """A page that another one asks for as well is not refused: a browser would show the refusal for good."""
    queries: list[dict[str, str]] = [{}, {"at": "1 second ago"}, {}] * 4
    with ThreadPoolExecutor(len(queries)) as pool:
        texts = [text for text, _ in pool.map(lambda query: _page(watched, **query), queries)]
    assert ["Back to now" in text for text in texts] == ["at" in query for query in queries]


def test_the_commands_restore_the_moment(watched: Container) -> None:
    """Somebody drops a table, picks the moment before on the page, and types what it shows: the rows are there."""
    _shows(watched, "The moments that can be restored")
    watched.sql("CREATE TABLE kept AS SELECT 42 AS answer")
    moment = watched.sql("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')")
    watched.sql("DROP TABLE kept")
    commands: list[str] = []

    def picked() -> bool:
        # The time of the last archived segment has whole seconds.
        watched.sql("SELECT pg_logical_emit_message(true, '', ''), pg_switch_wal()")
        text, _ = _page(watched, at=moment)
        commands[:] = [html.unescape(each) for each in re.findall(r"(?s)<pre[^>]*><code>(.*?)</code>", text)]
        return any(f"--env RESTORE_TARGET_TIME={moment}+00:00" in each for each in commands)

    containers.until(picked, "the page shows the commands", 60)
    name = f"{watched.name}-copy"
    dry, run, look = (_own(each, name) for each in commands[-12:-9])
    assert "on timeline 1; then promote" in _type(dry)
    try:
        _type(run)
        _type(look.partition("docker exec -it")[0])
        assert "42" == Container(name).sql("TABLE kept")
    finally:
        _type(f"docker rm --force --volumes {name}; docker volume rm {name}")


def _own(command: str, name: str) -> str:
    """Return a command whose container and volume belong to this test."""
    command = re.sub(r"(?<![\w/-])copy(?![\w/-])", name, command)
    return command.replace("docker run ", f"docker run --pull never --label {LABEL}={RUN} ")


def _type(command: str) -> str:
    done = subprocess.run(
        ("bash", "-c", command),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert 0 == done.returncode, (command, done.stdout)
    return done.stdout
