"""Messages and pings reach real servers: a webhook, a mailbox, and a service that notices silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import containers
import s3
import sinks
from containers import FRESH, Container, script, until

SECRETS = ("hook-one", "pa55word", "hook-two", "heart-uuid", "kuma-token")


@pytest.fixture(scope="module")
def web() -> Iterator[sinks.Web]:
    with sinks.web(s3.bridge(), refused=("/hook-two",)) as server:
        yield server


@pytest.fixture(scope="module")
def mail() -> Iterator[sinks.Mail]:
    with sinks.mail(s3.bridge()) as server:
        yield server


@pytest.fixture(scope="module")
def server(web: sinks.Web, mail: sinks.Mail) -> Iterator[Container]:
    urls = [
        f"json://me:pa55word@{web.place}/hook-one",
        f"json://{web.place}/hook-two",
        f"mailto://{mail.place}/?from=db@example.com&to=me@example.com",
    ]
    env = {
        **FRESH,
        "NOTIFY_URLS_FILE": "/run/secrets/notify_urls",
        "NOTIFY_HEARTBEAT_URL": f"http://{web.place}/heart-uuid",
        "NOTIFY_HEARTBEAT_INTERVAL": "2",
        "BACKUP_PING_URL": f"http://{web.place}/api/push/kuma-token?status=up&msg=OK&ping=",
        "WATCH_INTERVAL": "1",
        "ARCHIVE_URL": "file:///archive",
        "ARCHIVE_TOOL": "pgbackrest",
        "POSTGRES_DB": "shop",
    }
    files = {"run/secrets/notify_urls": script("\n".join(urls), mode=0o644)}
    with (
        containers.volume() as archive,
        containers.create(
            env=env, files=files, volumes={"/archive": archive}, options=("--hostname", "db-1")
        ) as container,
    ):
        container.begin()
        container.ready()
        yield container


def _titles(web: sinks.Web) -> list[str]:
    return [json.loads(each.body)["title"] for each in web.taken if each.path == "/hook-one"]


def test_the_command(server: Container, web: sinks.Web, mail: sinks.Mail) -> None:
    """It sends one message to each target and prints what each has answered; one failure is exit code 1."""
    before = len(mail.taken)
    found = server.exec("entrypoint", "notify", "test", "--json", check=False, timeout=90)
    place = web.place.partition(":")[0]
    assert 1 == found.code
    rows = json.loads(found.stdout)
    assert [
        (f"json://{place}", True),
        (f"json://{place} (2)", False),
        (f"mailto://{place}", True),
    ] == [(row["target"], row["sent"]) for row in rows]
    assert "403" in rows[1]["answer"]
    assert [] == [secret for secret in SECRETS if secret in found.output]
    assert "TEST notify: shop on db-1" in _titles(web)
    (sent,) = [each for each in mail.taken[before:] if each["Subject"] == "TEST notify: shop on db-1"]
    body = sent.get_body(("plain", "html"))
    assert body is not None
    assert "messages about this server reach you here" in body.get_content()


def test_a_backup_is_reported(server: Container, web: sinks.Web) -> None:
    """Uptime Kuma's address is requested once, with the report of the good backup in place of the old query."""
    server.exec("entrypoint", "backup", "push", user="postgres", timeout=90)
    until(lambda: bool(web.paths("/api/push")), "a ping of the backup", timeout=60)
    (path,) = web.paths("/api/push")
    assert path.startswith("/api/push/kuma-token?status=up&msg=a+full+backup+succeeded+after+")


def test_begin_and_end(server: Container, web: sinks.Web, mail: sinks.Mail) -> None:
    """What breaks is one message, and one more when it is over; the heartbeat fails and works again meanwhile."""
    until(lambda: bool(web.paths("/heart-uuid")), "a heartbeat", timeout=60)
    server.exec("chmod", "0", "/archive", user="root")
    server.sql("SELECT pg_switch_wal()")
    until(lambda: "ERROR archive: shop on db-1" in _titles(web), "a message", timeout=120)
    until(
        lambda: any("ERROR archive: " in each.body for each in web.taken if "/fail" in each.path), "a failure"
    )
    server.exec("chmod", "0750", "/archive", user="root")
    until(lambda: "ENDED archive: shop on db-1" in _titles(web), "the end", timeout=120)
    beats = len(web.taken)
    until(
        lambda: any(
            # This machine's disk may fill up at that moment, which is an error as well.
            each.path.startswith("/heart-uuid") and "ERROR archive" not in each.body
            for each in web.taken[beats:]
        ),
        "a heartbeat",
        timeout=60,
    )
    titles = [title for title in _titles(web) if " archive:" in title]
    assert ["ERROR archive: shop on db-1", "ENDED archive: shop on db-1"] == titles
    until(
        lambda: len([each for each in mail.taken if " archive:" in str(each["Subject"])]) == 2, "both mails"
    )
    reports = [each.body for each in web.taken if each.path == "/heart-uuid/fail"]
    assert any("ERROR archive: " in each and "hint: " in each for each in reports)


def test_a_target_that_fails(server: Container) -> None:
    """The queue says which target has not taken what; neither that nor the log nor doctor contains a secret."""

    def queue() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(server.exec("cat", f"{data}/entrypoint.notify").stdout)
        return found

    data = containers.data_folder()
    until(lambda: {2} == {len(each["sent"]) for each in queue()["waiting"]}, "two targets have taken all")
    found = queue()
    (target,) = found["failing"]
    assert target.endswith(" (2)")
    assert "403" in found["failing"][target]["words"]
    text = json.dumps(found) + server.logs().output + server.exec("entrypoint", "doctor", check=False).output
    assert [] == [secret for secret in SECRETS if secret in text]
