"""What a start keeps for what PID 1 starts later."""

from __future__ import annotations

import os

import pytest

from entrypoint.effects import server, startup
from entrypoint.errors import Failure


def test_no_secret_is_written_down() -> None:
    """Ours, libpq's and the archivers' variables are kept; their secrets and everybody else's are not."""
    secrets = (
        "POSTGRES_PASSWORD PGPASSWORD AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN WALG_LIBSODIUM_KEY SSH_PASSWORD "
        "PGBACKREST_REPO1_CIPHER_PASS PGBACKREST_REPO1_S3_KEY_SECRET WALG_S3_SSE_C WALG_PGP_KEY_PASSPHRASE "
        "MY_OWN"
    ).split()
    plain = {
        "PGDATA": "/data",
        "PGPORT": "6543",
        "PG_MAJOR": "15",
        "BACKUP_SCHEDULE": "0 3 * * *",
        "ARCHIVE_URL": "s3://bucket/prefix",
        "POSTGRES_CONF_work_mem": "4MB",
        "POSTGRES_USER": "boss",
        "WALG_PGP_KEY_PATH": "/key",
        "AWS_ENDPOINT": "https://s3.test",
        "PGBACKREST_STANZA": "main",
    }
    of_a_standby = {"STANDBY": "on", "STANDBY_SLOT": "a", "STANDBY_PRIMARY_CONNINFO": "host=db"}
    kept = server.kept_values({**plain, **of_a_standby, **dict.fromkeys(secrets, "geheim")})
    assert plain == {name: value for name, value in kept.items() if name in plain}
    assert "geheim" not in kept.values()
    assert [] == [name for name in ("MY_OWN", *of_a_standby) if name in kept]


def test_what_was_handed_on_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lacks the secrets; whoever has them is told."""
    values = {
        "PGDATA": "/data",
        "POSTGRES_PASSWORD_UPDATE": "on",
        "POSTGRES_PASSWORD": "geheim",
        "PATH": os.defpath,
    }
    assert startup.load_settings(values, ()).every_start.update_password
    kept = {**server.kept_values(values), "PATH": os.defpath}
    with pytest.raises(Failure):
        startup.load_settings(kept, ())
    monkeypatch.setenv(server.SETTINGS, "/run/entrypoint/settings.json")
    assert startup.load_settings(kept, ()).every_start.update_password
