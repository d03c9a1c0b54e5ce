"""What the images cost, and that nothing which somebody needs was left out to make them smaller."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import pytest

import containers
import size
from majors import DEFAULT, NIX, TAGS
from repository import REPOSITORY

PAGE = REPOSITORY / "docs/explanation/size.md"
COLUMNS = (TAGS[DEFAULT], NIX)
BOUND = 90
"""MB that the program, its Python and both archivers may add to PostgreSQL."""
SERVICES = """
import json, sys
sys.path[:0] = sys.argv[1:]
import apprise
found = apprise.Apprise().details(show_disabled=True)["schemas"]
print(json.dumps({str(each["service_name"]): each["enabled"] for each in found}))
"""


def _columns() -> Mapping[str, Mapping[str, float]]:
    """Return the figures of the page's table by image and part."""
    rows = re.findall(r"^\| ([^|]+) \|((?: +[\d.]+ \|)+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    parsed = [(name, [float(figure) for figure in re.findall(r"[\d.]+", figures)]) for name, figures in rows]
    return {tag: {name: row[place] for name, row in parsed} for place, tag in enumerate(COLUMNS)}


@pytest.mark.parametrize("tag", COLUMNS)
def test_the_page_and_the_bound(tag: str) -> None:
    """Each figure of the page is right within a tenth, and our parts stay below the bound."""
    # the page is about images without wal-g, and the bound counts one
    sizes = {**size.table(containers.kin(tag)), "wal-g": 0}
    assert size.added(sizes) <= BOUND
    told = _columns()[tag]
    wrong = {
        name: (told.get(name), measured)
        for name, measured in sizes.items()
        if abs(told.get(name, 0) - measured) > max(1, measured / 10)
    }
    assert {} == wrong, "run tests/size.py with both images, and put its table into the page"
    sums = {
        "ours, with both archivers": size.added({**told, "wal-g": 0}),
        "**together**": sum(told[name] for name in sizes if name != "wal-g"),
    }
    assert {} == {name: (told[name], found) for name, found in sums.items() if abs(told[name] - found) > 0.3}


def test_nothing_idle_is_in_the_tree() -> None:
    """The Nix image has neither documentation nor what only a compiler or a developer needs."""
    find = r"find /nix/store -type f | grep -E '/(man|doc|include|pkgconfig|idlelib|ensurepip)/|\.(a|la|pyi|h)$' | head"
    found = containers.run("bash", "-c", find, image=containers.kin(NIX), options=("--entrypoint=",))
    assert (0, "") == (found.code, found.stdout), found.output


def test_modules_that_the_program_imports() -> None:
    """Every module of the program and of its packages that can be imported in Debian's Python can be in ours."""
    look = (
        "import importlib, pkgutil, sys\n"
        "sys.path[:0] = ['/usr/local/lib/nix-postgres']; sys.path.append('/usr/local/lib/nix-postgres/packages')\n"
        "import entrypoint\n"
        "names = [module.name for module in pkgutil.walk_packages(entrypoint.__path__, 'entrypoint.')]\n"
        "for name in [*names, 'cronsim', 'click', 'jinja2', 'prometheus_client', 'psutil', 'zoneinfo', 'tarfile', 'ssl']:\n"
        "    name.endswith('__main__') or importlib.import_module(name)\n"
        "print(len(names))\n"
    )
    found = containers.run(containers.PYTHON, "-ISc", look, options=("--entrypoint=",))
    assert (0, True) == (found.code, int(found.stdout or 0) > 200), found.output


@pytest.mark.long
@pytest.mark.debian
def test_services_that_messages_reach() -> None:
    """Debian's apprise, with all that it can use, knows no service more than ours but the two that the page names."""
    text = "FROM IMAGE\nRUN apt-get update && apt-get install --yes --no-install-recommends apprise python3-cryptography\n"
    with containers.build(text) as image:
        theirs = containers.run("python3", "-c", SERVICES, image=image, options=("--entrypoint=",))
        folder = "/usr/local/lib/nix-postgres/packages"
        ours = containers.run(
            containers.PYTHON, "-ISc", SERVICES, folder, image=image, options=("--entrypoint=",)
        )
    assert (0, 0) == (theirs.code, ours.code), theirs.output + ours.output
    there, here = json.loads(theirs.stdout), json.loads(ours.stdout)
    assert there.keys() == here.keys()
    assert {"Firebase Cloud Messaging", "SimplePush"} == {name for name in there if there[name] != here[name]}
