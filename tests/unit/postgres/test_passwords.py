"""Stored passwords, computed as PostgreSQL does it."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from entrypoint.postgres.passwords import is_stored, md5, scram

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
#: The stored form of `PASSWORD 'password'` for the role postgres with password_encryption=md5.
OLD = "md532e12f215ba27cb750c9e093ce4b5127"


def test_the_exchange_of_rfc_7677() -> None:
    """The stored keys accept the client's proof of RFC 7677 and give the server's signature."""
    algorithm, parameters, keys = scram("pencil", SALT, 4096).split("$")
    assert ("SCRAM-SHA-256", "4096:W22ZaJ0SNY7soEsUEjb6gQ==") == (algorithm, parameters)
    stored, server = (base64.b64decode(key) for key in keys.split(":"))
    nonce = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    said = f"n=user,r=rOprNGfwEbeRWgbNEkqO,{nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,{nonce}".encode()
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.new(stored, said, hashlib.sha256).digest()
    client = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert stored == hashlib.sha256(client).digest()
    expected = base64.b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
    assert expected == hmac.new(server, said, hashlib.sha256).digest()


def test_md5() -> None:
    """The role's name is the salt."""
    assert OLD == md5("password", "postgres")


@pytest.mark.parametrize("stored", [scram("password", SALT, 1000), OLD], ids=["scram", "md5"])
def test_a_stored_password(stored: str) -> None:
    """Only the right password of the right role matches."""
    assert is_stored(stored, "password", "postgres")
    assert not is_stored(stored, "Password", "postgres")
    assert not is_stored(stored, "", "postgres")


def test_an_md5_password_belongs_to_one_role() -> None:
    """A renamed role has no valid md5 password any more."""
    assert not is_stored(OLD, "password", "boss")


@pytest.mark.parametrize(
    "stored",
    ["", "password", "SCRAM-SHA-256$", "SCRAM-SHA-256$0:AAAA$a:b", "SCRAM-SHA-256$4096:A$a:b", "md5"],
)
def test_an_unknown_form(stored: str) -> None:
    """The result for a password that is stored in an unknown form is None."""
    assert is_stored(stored, "password", "postgres") is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("p\u00e4ss", "pa\u0308ss", True),
        ("\u2168", "IX", True),
        ("a\u00a0b", "a b", True),
        ("a\u200bb\u00e4", "a b\u00e4", True),
        ("a\u00adb", "ab", True),
        ("\u00aa", "a", True),
        ("\u0007\u2168", "\u0007IX", False),
        ("\u0627\u0031", "\u06271", True),
        ("\u0627\u2168", "\u0627IX", False),
        ("\u0627\u2168\u0627", "\u0627IX\u0627", False),
        ("\U0001fae0\u2168", "\U0001fae0IX", False),
        ("\udce4\u2168", "\udce4IX", False),
        ("\u00ad", "", False),
    ],
)
def test_passwords_beyond_ascii(one: str, other: str, same: bool) -> None:
    """Two spellings of a password are the same, unless it contains what RFC 4013 prohibits."""
    assert same == is_stored(scram(one, SALT, 1000), other, "postgres")
