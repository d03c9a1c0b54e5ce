"""Our private servers, which nobody else can reach."""

from __future__ import annotations

from entrypoint.server import private_server


def test_a_server_that_recovers() -> None:
    """It accepts no clients and archives nothing; the options decide what it recovers."""
    found = private_server.recovering({"recovery_target_action": "promote"}, "5433", 14)
    assert [
        "-c", "listen_addresses=",
        "-c", "archive_mode=on",
        "-c", "archive_command=",
        "-c", "recovery_target_action=promote",
        "-p", "5433",
    ] == found  # fmt: skip
    assert "archive_library=" in private_server.recovering({}, "5432", 15)


def test_out_of_reach() -> None:
    """Its only socket is in our folder, together with the files that let us in."""
    found = private_server.out_of_reach("/run/x")
    assert ("", "/run/x", "") == (
        found["listen_addresses"], found["unix_socket_directories"], found["archive_command"]
    )  # fmt: skip
    files = {found["hba_file"], found["ident_file"]}
    assert {f"/run/x/{name}" for name in private_server.ACCESS} == files
