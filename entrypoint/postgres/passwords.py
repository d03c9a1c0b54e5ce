"""What PostgreSQL stores for a password: computed and compared without a login; pure.

A stored password is `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>` (RFC 5802 and 7677) or
`md5` and the MD5 of password and role. The same rules are in postgres/postgres:src/common/scram-common.c.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import stringprep
import unicodedata

from entrypoint.light import re

SCRAM = "SCRAM-SHA-256"

_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def is_stored(stored: str, password: str, role: str) -> bool | None:
    """Return whether a value of pg_authid.rolpassword is that of a password; None: of an unknown kind."""
    found = re.fullmatch(rf"{SCRAM}\$([0-9]{{1,9}}):([^$]+)\$[^:]+:.+", stored)
    if found:
        try:
            again = scram(password, base64.b64decode(found[2], validate=True), int(found[1]))
        except ValueError:
            return None
    elif re.fullmatch("md5[0-9a-f]{32}", stored):
        again = md5(password, role)
    else:
        return None
    return hmac.compare_digest(stored.encode(), again.encode())


def scram(password: str, salt: bytes, iterations: int) -> str:
    """Return what the server stores for a password with password_encryption=scram-sha-256."""
    salted = hashlib.pbkdf2_hmac("sha256", _prepare(password), salt, iterations)
    stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    server_key = _hmac(salted, b"Server Key")
    salt_text, stored_text, server_text = (
        base64.b64encode(value).decode() for value in (salt, stored_key, server_key)
    )
    return f"{SCRAM}${iterations}:{salt_text}${stored_text}:{server_text}"


def md5(password: str, role: str) -> str:
    """Return what the server stores for a password with password_encryption=md5; the role is the salt."""
    text = f"{password}{role}".encode("utf-8", "surrogateescape")
    return "md5" + hashlib.md5(text, usedforsecurity=False).hexdigest()


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def _prepare(password: str) -> bytes:
    r"""Return the bytes that SCRAM works on: SASLprep (RFC 4013), or the unchanged password if that fails.

    Like the server, check for prohibited characters before the normalization.

    >>> _prepare("I\u00adX"), _prepare("\u2168"), _prepare("\u0007\u2168") == "\u0007\u2168".encode()
    (b'IX', b'IX', True)
    """
    raw = password.encode("utf-8", "surrogateescape")
    if password.isascii():
        return raw
    spaced = (" " if stringprep.in_table_c12(each) else each for each in password)
    text = "".join(each for each in spaced if not stringprep.in_table_b1(each))
    if not text or any(prohibited(each) for each in text for prohibited in _PROHIBITED):
        return raw
    # Right-to-left text must not be mixed with the other direction, nor begin or end with anything else.
    right = [stringprep.in_table_d1(each) for each in text]
    mixed = any(stringprep.in_table_d2(each) for each in text)
    if any(right) and (mixed or not (right[0] and right[-1])):
        return raw
    return unicodedata.normalize("NFKC", text).encode()
