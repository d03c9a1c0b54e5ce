"""The runner of the manual's pages reads them by its rules; tests/pages.py has the rules."""

from __future__ import annotations

import pytest

import pages
from pages import Step
from repository import REPOSITORY

PAGE = """\
Write `compose.yaml`:

```yaml
services:
  db:
    environment:
      ARCHIVE_URL: file:///archive
```

1. Add a variable below `ARCHIVE_URL`:

   ```yaml
      RESTORE_FROM: LATEST
   ```

2. Start:

   ```console
   $ docker compose up --detach
   $ docker compose exec db entrypoint ready
   ready: primary
   ```

For example:

```yaml
ignored: true
```
"""


def test_a_page_is_files_and_commands_in_their_order() -> None:
    """Blocks in lists lose the list's indentation; a block that no rule is about is left out."""
    kinds = [(step.kind, step.what) for step in pages.steps(PAGE)]
    assert kinds == [
        ("write", "compose.yaml"),
        ("insert", "ARCHIVE_URL"),
        ("run", "docker compose up --detach"),
        ("run", "docker compose exec db entrypoint ready"),
    ]
    assert Step("run", "docker compose exec db entrypoint ready", "ready: primary\n") in [*pages.steps(PAGE)]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("ready: primary\n", "ready: primary\n"),
        (" id |  what\n----+-----\n", " id |  what  \n----+-----\n\n"),
        ("…\nready: primary\n", "not ready: boot\nnot ready: boot\nready: primary\n"),
        ("…\nready: primary\n", "ready: primary\n"),
        ("stored in … on disk\n", "stored in a place on disk\n"),
        ("4.3 MiB in 3 s, 12 % full\n", "912 KiB in 0.5 s, 9 % full\n"),
        ("20261130-041419F  0/2000028\n", "20270101-000000F    1F/2C\n"),
        ("at 2026-11-30T04:14:22+00:00\n", "at 2027-01-01T00:00:00.123+01:00\n"),
    ],
)
def test_an_output_matches(shown: str, printed: str) -> None:
    """What differs each time may differ, and what is elided may be anything."""
    assert pages.matches(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("(3 rows)\n", "(2 rows)\n"),
        ("ready: primary\n", "ready: standby\n"),
        ("ready: primary\n", "not ready: boot\nready: primary\n"),
        ("ready: primary\n…\n", "not ready: boot\n"),
        ("ready: primary\n", ""),
        ("a (b\n", "a b\n"),
    ],
)
def test_another_output_does_not_match(shown: str, printed: str) -> None:
    """Words, counts, and lines that the page does not show make a difference."""
    assert not pages.matches(shown, printed)


def test_the_first_page_is_short() -> None:
    """README.md has room for what a newcomer needs, and the manual for the rest."""
    assert (REPOSITORY / "README.md").stat().st_size <= 6000
