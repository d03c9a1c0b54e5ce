"""Takes the picture of the page that the manual shows, docs/page.png: `make screenshot`."""

from __future__ import annotations

import tempfile

import browser
import watched
from entrypoint.web import page
from repository import REPOSITORY

PICTURE = REPOSITORY / "docs" / "page.png"


def main() -> None:
    """Write the picture."""
    found = page.render(watched.well(), "serving", watched.NOW, {}, host="db")
    with tempfile.NamedTemporaryFile(suffix=".html") as file, browser.opened() as shown:
        file.write(found.body)
        file.flush()
        shown.look_like(960, height=860)
        shown.go(f"file://{file.name}")
        PICTURE.write_bytes(shown.picture(whole=False))


if __name__ == "__main__":
    main()
