"""The how-to pages, which the image contains so that nobody needs a network to read them."""

import os

from entrypoint.templates import folders

FOLDERS = folders("docs/how-to")
_ENDING = ".md"


def titles() -> dict[str, str]:
    """Return the title of each page by its name, in alphabetical order; empty if they are missing."""
    found = {}
    for folder in FOLDERS:
        try:
            files = os.listdir(folder)
        except OSError:
            continue
        for file in files:
            name = file.removesuffix(_ENDING)
            if name != file and name not in found:
                found[name] = _title(f"{folder}/{file}")
    return dict(sorted(found.items()))


def _title(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.readline().lstrip("#").strip().replace("`", "")


def text(name: str) -> str:
    """Return a page as it is; `name` must be a key of `titles`."""
    for folder in FOLDERS:
        try:
            with open(f"{folder}/{name}{_ENDING}", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            continue
    raise KeyError(name)
