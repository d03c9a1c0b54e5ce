"""An archive on another machine, by SFTP: wal-g, and pgBackRest from 2.46 on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

import containers
from archives import LATEST, write
from containers import FRESH, File
from majors import DEFAULT, TAGS

SSHD = """FROM IMAGE
RUN apt-get update && apt-get install --yes --no-install-recommends openssh-server
RUN mkdir -p /run/sshd && useradd --create-home keeper && install --directory --owner keeper /home/keeper/wal-g /home/keeper/pgbackrest
"""
KEY = "/etc/archive-key"
TRIXIE = containers.kin(TAGS[DEFAULT])


class Keeper(NamedTuple):
    """A machine with sshd and a user `keeper`, who has a folder for each tool."""

    address: str
    key: str
    """The private key for the login."""


@pytest.fixture(scope="module")
def keeper() -> Iterator[Keeper]:
    """One machine for both tools."""
    sshd = ("--entrypoint", "/usr/sbin/sshd")
    with (
        containers.build(SSHD, image=TRIXIE) as image,
        containers.start("-D", "-e", options=sshd, image=image) as machine,
    ):
        machine.says("Server listening")
        # The form is the one in pgBackRest's documentation.
        machine.exec("ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-f", "/root/key")
        machine.exec("install", "-D", "--owner=keeper", "/root/key.pub", "/home/keeper/.ssh/authorized_keys")
        yield Keeper(machine.address, machine.exec("cat", "/root/key").stdout)


def _survives(env: dict[str, str], keeper: Keeper, image: str) -> None:
    """A database on this archive comes back after its volume is gone, every row."""
    files = {KEY: File(keeper.key, 0o600, 999)}
    with containers.serve(env={**FRESH, **env}, files=files, image=image) as server:
        write(server, 1)
        server.exec("entrypoint", "backup", "push", timeout=60)
        looked = server.exec("entrypoint", "doctor", "round trip", check=False).output
        assert looked.startswith("ok "), looked
        assert "was written and read back" in looked
        write(server, 2)
        assert 0 == server.stop()
    with containers.serve(env={**env, **LATEST}, files=files, image=image) as restored:
        assert "3" == restored.sql("SELECT count(*) FROM kept")


@pytest.mark.walg
def test_walg_archives_over_ssh(keeper: Keeper) -> None:
    """wal-g's own variables turn archiving on; the key is a file of the server's user."""
    env = {
        "WALG_SSH_PREFIX": f"ssh://{keeper.address}/home/keeper/wal-g",
        "SSH_USERNAME": "keeper",
        "SSH_PRIVATE_KEY_PATH": KEY,
    }
    _survives(env, keeper, containers.IMAGE)


def test_pgbackrest_archives_over_sftp(keeper: Keeper) -> None:
    """PgBackRest's own variables turn archiving on; trixie's version is new enough for SFTP."""
    env = {
        "PGBACKREST_REPO1_TYPE": "sftp",
        "PGBACKREST_REPO1_PATH": "/home/keeper/pgbackrest",
        "PGBACKREST_REPO1_SFTP_HOST": keeper.address,
        "PGBACKREST_REPO1_SFTP_HOST_USER": "keeper",
        "PGBACKREST_REPO1_SFTP_PRIVATE_KEY_FILE": KEY,
        "PGBACKREST_REPO1_SFTP_HOST_KEY_HASH_TYPE": "sha256",
        "PGBACKREST_REPO1_SFTP_HOST_KEY_CHECK_TYPE": "none",
    }
    _survives(env, keeper, TRIXIE)
