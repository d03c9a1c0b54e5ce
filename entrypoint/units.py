"""Numbers of bytes as people read them; pure."""

BYTES = {"": 1, "B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
"""PostgreSQL's units of memory, in bytes."""


def spell(count: float) -> str:
    """Return bytes in a unit of which there are some.

    >>> spell(8192), spell(3 * 1024**2), spell(150.4 * 1024**2), spell(20 * 1024**3)
    ('8 KiB', '3.0 MiB', '150 MiB', '20.0 GiB')
    """
    if count < 1024**2:
        return f"{count / 1024:.0f} KiB"
    if count < 10 * 1024**3:
        return f"{count / 1024**2:.{1 if count < 10 * 1024**2 else 0}f} MiB"
    return f"{count / 1024**3:.1f} GiB"
