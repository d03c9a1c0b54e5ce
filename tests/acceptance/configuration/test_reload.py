"""SIGHUP: the server's own binary checks changes before they are logged and take effect."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containers import FRESH, Container, serve, until

CONF = "/docker-entrypoint-conf.d"


@pytest.fixture
def serving() -> Iterator[Container]:
    """A server with a conf folder."""
    env = {**FRESH, "POSTGRES_CONF_log_min_messages": "warning"}
    with serve(env=env, files={f"{CONF}/a.conf": "work_mem = 5MB\n"}) as container:
        yield container


def change(container: Container, text: str) -> None:
    """Change the user's conf file, and send SIGHUP."""
    write(container, text)
    container.kill("HUP")


def write(container: Container, text: str) -> None:
    """Change the user's conf file."""
    container.exec("sh", "-c", f"cat > {CONF}/a.conf", user="0", stdin=text)


def test_a_good_change(serving: Container) -> None:
    """The difference is logged, and takes effect."""
    assert "5MB" == serving.sql("SHOW work_mem")
    change(serving, "work_mem = 6MB\n")
    serving.says("reload: entrypoint: info: work_mem: 5MB → 6MB (conf.d: /docker-entrypoint-conf.d/a.conf:1)")
    serving.says("reloaded; 1 setting changes")
    until(lambda: serving.sql("SHOW work_mem") == "6MB", "the new setting")


def test_a_bad_change_keeps_the_old_one(serving: Container) -> None:
    """All mistakes are logged, nothing takes effect, and a later good change does."""
    change(serving, "work_mem = 6MB\nwrok_mem = 7MB\nfsync = maybe\n")
    serving.says("a.conf:2: the server has no setting wrok_mem")
    serving.says("a.conf:3: ")
    serving.says("nothing was reloaded")
    assert "5MB" == serving.sql("SHOW work_mem")
    assert "received SIGHUP" not in serving.logs().output
    change(serving, "work_mem = 7MB\n")
    until(lambda: serving.sql("SHOW work_mem") == "7MB", "the new setting")


def test_a_change_that_needs_a_restart(serving: Container) -> None:
    """The log says that it needs a restart; the other changes take effect at once."""
    change(serving, "max_connections = 55\nwork_mem = 8MB\n")
    serving.says("max_connections: 100 → 55, needs a restart")
    serving.says("reloaded; 2 settings change, 1 of them at the next restart")
    until(lambda: serving.sql("SHOW work_mem") == "8MB", "the new setting")
    assert "100" == serving.sql("SHOW max_connections")
    serving.stop()
    serving.again()
    assert "55" == serving.sql("SHOW max_connections")


def test_many_hangups_end_with_the_last_change(serving: Container) -> None:
    """A change that arrives while another is checked is not lost."""
    for number in range(10, 20):
        change(serving, f"work_mem = {number}MB\n")
    until(lambda: serving.sql("SHOW work_mem") == "19MB", "the last setting")


def test_a_first_file_in_the_conf_folder() -> None:
    """If anything is rendered, the folder counts from the start, even while it is empty."""
    with serve(env={**FRESH, "POSTGRES_CONF_log_min_messages": "warning"}) as container:
        change(container, "work_mem = 6MB\n")
        container.says("reloaded; 1 setting changes")
        until(lambda: container.sql("SHOW work_mem") == "6MB", "the new setting")


def test_a_stop_does_not_wait_for_a_reload(serving: Container) -> None:
    """After SIGHUP and then a stop, the server shuts down cleanly."""
    serving.kill("HUP")
    assert 0 == serving.stop("INT")
