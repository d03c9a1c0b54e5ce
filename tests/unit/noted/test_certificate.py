"""The end of a certificate's validity is read as OpenSSL prints it; anything else is not known."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from entrypoint.noted import certificate


def _make(path: Path, days: int) -> None:
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{path}.key")
    subprocess.run(
        ("openssl", "req", "-x509", *key, "-out", path, "-days", str(days), "-subj", "/CN=db"),
        capture_output=True,
        check=True,
    )


@pytest.mark.parametrize("days", [10, 36500], ids=["until 2049", "later, in the other notation"])
def test_expiry(tmp_path: Path, days: int) -> None:
    """It is that of the first certificate of a chain, also through a link."""
    own, other, chain = tmp_path / "own", tmp_path / "other", tmp_path / "chain"
    _make(own, days)
    _make(other, 5)
    chain.write_bytes(b"Bag Attributes\n" + own.read_bytes() + other.read_bytes())
    (tmp_path / "link").symlink_to(chain)
    printed = subprocess.run(
        ("openssl", "x509", "-noout", "-enddate", "-in", own), capture_output=True, text=True, check=True
    ).stdout
    expected = datetime.strptime(printed.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
    assert expected.timestamp() == certificate.expiry(str(tmp_path / "link"))


def test_not_a_certificate(tmp_path: Path) -> None:
    """A file that is missing, empty, torn or something else has no end."""
    whole = tmp_path / "whole"
    _make(whole, 10)
    lines = whole.read_text().splitlines()
    for text in ("", "key", "\n".join([*lines[:2], lines[-1]]), "\n".join([lines[0], "AAAA", lines[-1]])):
        (tmp_path / "other").write_text(text)
        assert None is certificate.expiry(str(tmp_path / "other"))
    assert None is certificate.expiry(str(tmp_path / "missing"))
