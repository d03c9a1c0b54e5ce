"""What people see: bytes in readable units, and text without characters that control a terminal; pure."""

BYTES = {"": 1, "B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
"""PostgreSQL's units of memory, in bytes."""


def spell(count: float) -> str:
    """Return a number of bytes in a readable unit.

    >>> spell(8192), spell(3 * 1024**2), spell(150.4 * 1024**2), spell(20 * 1024**3)
    ('8 KiB', '3.0 MiB', '150 MiB', '20.0 GiB')
    """
    if count < 1024**2:
        return f"{count / 1024:.0f} KiB"
    if count < 10 * 1024**3:
        return f"{count / 1024**2:.{1 if count < 10 * 1024**2 else 0}f} MiB"
    return f"{count / 1024**3:.1f} GiB"


def printable(text: str, keep: str = "\n\t") -> str:
    r"""Return a text in which every character is escaped that could control a terminal, break a line or hide.

    These are Unicode's control, format, private and unassigned characters and its line separators. Blanks and
    the characters in `keep` stay. Bytes that are not UTF-8 are escaped as well.

    >>> printable("a\x1b]0;x\x07\u2028\u202e\udcff ä\u00a0€")
    'a\\x1b]0;x\\x07\\u2028\\u202e\\xff ä\xa0€'
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isspace() and code > 0x9F and character not in "\u2028\u2029":
        return character
    return ascii(character)[1:-1]


def inline(text: str) -> str:
    r"""Return a name on one line, without characters that control a terminal.

    >>> inline("a\nentrypoint: info: b")
    'a\\nentrypoint: info: b'
    """
    return printable(text, "")
