"""The page says whether people can sleep, shows everything that was seen, and never lets a text become HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

import watched
from entrypoint.failover.member import Member
from entrypoint.full_disk import parts
from entrypoint.noted.conditions import Condition, Event
from entrypoint.noted.seen import Seen
from entrypoint.web import page
from watched import NOW

HOSTILE = st.one_of(
    st.text(),
    st.text("<>&\"'\\\x00\x1b\u202e\u2028\ud800{}%#\n\r\t "),
    st.sampled_from(["</style><script>alert(1)</script>", "{{ 7 * 7 }}", '" onload="x', "]]>", "x" * 9000]),
)
NAMESPACE = "{http://www.w3.org/1999/xhtml}"


def _shown(seen: Seen | None, phase: str = "serving", at: str = "", host: str = "db") -> ET.Element:
    """The page as a tree, which it only is if every element is closed and every text is escaped."""
    query = {"at": at} if at else {}
    body = page.render(seen, phase, NOW, query, host=host).body.decode()
    return ET.fromstring(body)


def _text(tree: ET.Element) -> str:
    return " ".join(" ".join(tree.itertext()).split())


def _outline(tree: ET.Element) -> list[str]:
    return [_text(each) for each in tree.iter() if each.tag in ("h1", "h2")]


def test_all_is_well() -> None:
    """The verdict, and then each part of what was seen, with a heading."""
    assert [
        "You can sleep: all is well",
        "What can be restored",
        "Server",
        "Archive",
        "Space",
        "Base backups in the archive",
        "Last drills",
        "Standbys",
        "Helpers",
        "What happened last",
    ] == _outline(_shown(watched.well()))


def test_what_is_wrong_comes_first() -> None:
    """An error is in the title and the verdict; each condition has its hint, for this container, as one text and its page."""
    tree = _shown(watched.broken(), host="0123456789ab")
    assert ["Do not sleep yet: one thing is wrong", "What is wrong"] == _outline(tree)[:2]
    assert "✕ Do not sleep yet: one thing is wrong · 0123456789ab" == tree.findtext("head/title")
    hints = [_text(each) for each in tree.iter("pre")]
    assert [
        "docker exec 0123456789ab entrypoint doctor 'round trip'",
        "make the storage of the archive reachable, or enlarge the volume",
    ] == hints
    assert "entrypoint help fix-archiving" in _text(tree)
    assert "segments 000000020000002A000000C1 to 000000020000002A000000C4 are missing" in _text(tree)


def test_nothing_was_seen_yet() -> None:
    """In the first seconds there is a page as well, and it does not calm anybody."""
    for phase in ("boot", "init", "restore", "recovery", "startdb", "serving", "stopping", ""):
        tree = _shown(None, phase)
        (header,) = tree.iter("header")
        assert "unknown" == header.get("class"), phase
    assert ["The database is being restored from the archive", "What can be restored"] == _outline(
        _shown(None, "restore")
    )


def test_each_part_may_be_missing() -> None:
    """Whatever is not known is left out, one thing at a time and all together."""
    seen = watched.broken()
    empty = Seen(at=NOW)
    for name in set(Seen._fields) - {"at"}:
        _shown(seen._replace(**{name: getattr(empty, name)}))
    assert ["Nothing is known of the server", "What can be restored"] == _outline(_shown(empty))


def test_a_node_under_patroni() -> None:
    """Its place in the cluster is shown; a pause is marked."""
    member = Member("shop", "db1", answers=True, role="standby", leader="db2", state="running", paused=True)
    tree = _shown(watched.well()._replace(member=member))
    assert "Cluster" in _outline(tree)
    assert "Leader db2" in _text(tree)
    assert "! no node takes over by itself" in _text(tree)


def test_a_moment_is_picked() -> None:
    """The page shows the commands of a restore to it, keeps it in the form, and does not reload itself."""
    tree = _shown(watched.well(), at="2026-11-27T14:03:00")
    (field,) = tree.iter("input")
    assert "2026-11-27T14:03:00" == field.get("value")
    commands = [_text(each) for each in tree.iter("pre")]
    assert "docker exec db entrypoint restore --dry-run --target-time 2026-11-27T14:03:00+00:00" in commands
    assert not [each for each in tree.iter("meta") if each.get("http-equiv")]
    assert [
        each.get("content") for each in _shown(watched.well()).iter("meta") if each.get("http-equiv")
    ] == ["30"]


def test_the_policy() -> None:
    """The policy allows this style and nothing else, and the page needs no script and no handler."""
    found = page.render(watched.broken(), "serving", NOW, {})
    (style,) = re.findall("(?s)<style>(.*?)</style>", found.body.decode())
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = dict(found.headers)["Content-Security-Policy"]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    tree = _shown(watched.broken())
    names = {name for each in tree.iter() for name in each.keys()}  # noqa: SIM118 - an element is no mapping
    assert set() == {name for name in names if name.startswith("on") or name == "style"}
    assert [] == list(tree.iter("script"))


@settings(max_examples=25)
@given(HOSTILE, HOSTILE, HOSTILE)
def test_no_text_becomes_html(first: str, second: str, third: str) -> None:
    """Whatever somebody wrote is shown, without a new element, and without a character that hides or reorders."""
    seen = watched.broken()
    assert seen.archive is not None
    assert seen.server is not None
    condition = Condition(first, "error", NOW, second, third, first, second)
    seen = seen._replace(
        conditions=(condition,),
        events=(Event(1, NOW, "began", second, "error", third, NOW),),
        archive=seen.archive._replace(
            url=first, last_error=second, last_archived_at=third, own_command=first
        ),
        backups=tuple(
            each._replace(name=first, started=second, finished=third) for each in seen.backups or ()
        ),
        runs=tuple(each._replace(words=first, started=second) for each in seen.runs),
        filling={each.folder: (parts.slot(parts.Slot(first, 0), 9, 1),) for each in seen.volumes},
        drills=tuple(each._replace(backup=first, started=third, words=second) for each in seen.drills),
        server=seen.server._replace(
            version=third, standbys=({"application_name": first, "client_addr": second},)
        ),
    )
    usual = [each.tag for each in _shown(watched.broken()._replace(conditions=(condition,)), host="a").iter()]
    for at in ("", third):
        tree = _shown(seen, second, at, host=first)
        assert {each.tag for each in tree.iter()} <= {*usual, *_TAGS}
        assert (_text(tree) + " ").isprintable()
        assert len(ET.tostring(tree)) < 400_000


_TAGS = {"a", "details", "summary", "ol"}
"""Elements for a moment that was picked."""


@settings(max_examples=25)
@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12), st.integers(-(10**20), 10**20))
def test_any_number(moment: float, seconds: float, count: int) -> None:
    """A clock that is wrong, and numbers that cannot be, do not end the page."""
    seen = watched.well()
    assert seen.window is not None
    assert seen.server is not None
    _shown(
        seen._replace(
            at=moment,
            window=seen.window._replace(start=seconds),
            next_backup=moment,
            server=seen.server._replace(started=moment, recovered=seconds),
            volumes=tuple(each._replace(size=count, free=count, full_seconds=count) for each in seen.volumes),
            events=tuple(each._replace(at=seconds) for each in seen.events),
        )
    )
