"""Who we are and whom we become."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable

import pytest

from entrypoint.errors import Failure
from entrypoint.system import identity
from entrypoint.system.identity import Identity

USERS = {
    "root": (0, 0, "/root"),
    "postgres": (999, 999, "/var/lib/postgresql"),
    "homeless": (5, 6, ""),
    "007": (7, 7, "/seven"),
}
GROUPS = {"root": 0, "postgres": 999, "ssl-cert": 104}


@pytest.fixture(autouse=True)
def _database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users and groups of a small system, on which we are uid 1000 and gid 1001, with three groups."""
    by_name = {
        name: pwd.struct_passwd((name, "x", uid, gid, "", home, "/bin/sh"))
        for name, (uid, gid, home) in USERS.items()
    }
    by_uid = {entry.pw_uid: entry for entry in by_name.values()}

    def of_uid(uid: int) -> pwd.struct_passwd:
        if uid >= 2**32:
            raise OverflowError
        return by_uid[uid]

    groups = {name: grp.struct_group((name, "x", gid, [])) for name, gid in GROUPS.items()}
    monkeypatch.setattr(pwd, "getpwnam", by_name.__getitem__)
    monkeypatch.setattr(pwd, "getpwuid", of_uid)
    monkeypatch.setattr(grp, "getgrnam", groups.__getitem__)
    monkeypatch.setattr(os, "getgrouplist", lambda _, gid: [gid, 104])
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(os, "getgid", lambda: 1001)
    monkeypatch.setattr(os, "getgroups", lambda: [1001, 1002, 104])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        # a name: the user's own group and all supplementary groups
        ("postgres", Identity(999, 999, (999, 104), "/var/lib/postgresql", "postgres")),
        ("postgres:", Identity(999, 999, (999, 104), "/var/lib/postgresql", "postgres")),
        ("root", Identity(0, 0, (0, 104), "/root", "root")),
        # a number with a passwd entry is that user
        ("999", Identity(999, 999, (999, 104), "/var/lib/postgresql", "postgres")),
        ("0", Identity(0, 0, (0, 104), "/root", "root")),
        # a number without a name keeps the caller's group
        ("4242", Identity(4242, 1001, (1001,), "/", "")),
        # with a group, there is only that group
        ("postgres:root", Identity(999, 0, (0,), "/var/lib/postgresql", "postgres")),
        ("postgres:104", Identity(999, 104, (104,), "/var/lib/postgresql", "postgres")),
        ("4242:4343", Identity(4242, 4343, (4343,), "/", "")),
        ("0:0", Identity(0, 0, (0,), "/root", "root")),
        # without a user, we stay who we are
        ("", Identity(1000, 1001, (1001, 1002, 104), "/", "")),
        (":", Identity(1000, 1001, (1001, 1002, 104), "/", "")),
        (":ssl-cert", Identity(1000, 104, (104,), "/", "")),
        ("homeless", Identity(5, 6, (6, 104), "/", "homeless")),
        # digits are taken as a number first, as in the runtime's own code
        ("007", Identity(7, 7, (7, 104), "/seven", "007")),
        ("2147483647", Identity(2147483647, 1001, (1001,), "/", "")),
    ],
)
def test_valid_users_and_groups(spec: str, expected: Identity) -> None:
    """`user[:group]`, names or numbers, means the same as for `docker run --user`."""
    assert expected == identity.resolve(spec)


def test_the_current_identity() -> None:
    """It keeps all groups of this process."""
    assert Identity(1000, 1001, (1001, 1002, 104), "/", "") == identity.current()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("nobody-here", "unable to find user nobody-here"),
        ("-1", "unable to find user -1"),
        ("1x", "unable to find user 1x"),
        ("²", "unable to find user ²"),
        ("postgres:nogroup-here", "unable to find group nogroup-here"),
        ("1:2:3", "unable to find group 2:3"),
        (":-1", "unable to find group -1"),
        # the kernel has no such numbers, and to setresuid 4294967295 means "leave it as it is"
        ("2147483648", "range"),
        ("4294967295", "range"),
        ("99999999999999999999", "range"),
        ("0:2147483648", "range"),
        ("0:99999999999999999999", "range"),
    ],
)
def test_invalid_users_and_groups(spec: str, words: str) -> None:
    """Everything else is a ValueError with the runtime's own text, never another exception."""
    with pytest.raises(ValueError, match=words):
        identity.resolve(spec)


class Kernel:
    """The ids of a process, as far as `become` needs them."""

    def __init__(self, *, obeys: bool = True, keeps_root: bool = False) -> None:
        self.uids, self.gids, self.groups = (0, 0, 0), (0, 0, 0), [0, 1]
        self.order: list[str] = []
        self.obeys = obeys
        self.keeps_root = keeps_root

    def setgroups(self, groups: Iterable[int]) -> None:
        """Change the supplementary groups."""
        self.order.append("groups")
        self.groups = list(groups) if self.obeys else self.groups

    def setresgid(self, *gids: int) -> None:
        """Change the gids."""
        self.order.append("gid")
        self.gids = (gids[0], gids[1], gids[2])

    def setresuid(self, *uids: int) -> None:
        """Change the uids."""
        self.order.append("uid")
        self.uids = (uids[0], uids[1], uids[2])

    def setuid(self, uid: int) -> None:
        """Try to become root again."""
        if not self.keeps_root:
            raise PermissionError(uid)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Kernel:
    """A kernel in which we are root."""
    made: Kernel = getattr(request, "param", None) or Kernel()
    for name in ("setgroups", "setresgid", "setresuid", "setuid"):
        monkeypatch.setattr(os, name, getattr(made, name))
    monkeypatch.setattr(os, "getuid", lambda: made.uids[0])
    monkeypatch.setattr(os, "getresuid", lambda: made.uids)
    monkeypatch.setattr(os, "getresgid", lambda: made.gids)
    monkeypatch.setattr(os, "getgroups", lambda: made.groups)
    return made


POSTGRES = Identity(999, 999, (999, 104), "/", "postgres")


def test_rights_are_given_up_in_order(kernel: Kernel) -> None:
    """The order is groups, then gid, then uid: after the uid, there is no right left for the others."""
    identity.become(POSTGRES)
    assert (["groups", "gid", "uid"], (999,) * 3, (999,) * 3) == (kernel.order, kernel.uids, kernel.gids)
    assert [999, 104] == kernel.groups


@pytest.mark.parametrize("kernel", [Kernel(obeys=False), Kernel(keeps_root=True)], indirect=True)
def test_remaining_rights_are_noticed(kernel: Kernel) -> None:
    """If the groups stay, or root's rights can be regained, the start ends with a message about both."""
    with pytest.raises(Failure) as failed:
        identity.become(POSTGRES)
    assert "could not give up root's rights" in failed.value.problems[0].what
    assert "--user 999:999" in failed.value.problems[0].hint


def test_missing_capabilities_are_named(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint for root without SETUID and SETGID is to grant them, or to start as that user."""

    def refuse(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setgroups", refuse)
    with pytest.raises(Failure) as failed:
        identity.become(POSTGRES)
    assert "--cap-add SETUID --cap-add SETGID" in failed.value.problems[0].hint
