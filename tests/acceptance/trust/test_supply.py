"""An image contains no setting of the machine that built it."""

from __future__ import annotations

import socket

import pytest

from containers import run


@pytest.mark.debian
def test_nothing_of_the_builder() -> None:
    """Apt checks the age of its indexes and uses no proxy of the builder; no file contains the builder's name."""
    script = r"""
        apt-config dump Acquire::Check-Valid-Until Acquire::Check-Date Acquire::http Acquire::https Acquire::AllowInsecureRepositories
        ls /etc/apt/apt.conf.d | grep mmdebstrap
        grep -rni 'trusted=yes' /etc/apt/sources.list /etc/apt/sources.list.d
        ls -d /tmp/* /var/tmp/* /root/.cache /root/.config /etc/machine-id 2>/dev/null
        openssl x509 -noout -ext subjectAltName -in /etc/ssl/certs/ssl-cert-snakeoil.pem | grep DNS
        [ ${#1} -lt 6 ] || grep -rlF "$1" /etc /usr/local /var/lib 2>/dev/null
    """
    expected = ['Acquire::AllowInsecureRepositories "0";', "DNS:localhost"]
    found = run("bash", "-c", script, "bash", socket.gethostname()).stdout.splitlines()
    assert expected == [line.strip() for line in found]
