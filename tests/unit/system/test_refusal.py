"""The message for a system error that no other code handles."""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from entrypoint import __main__ as main
from entrypoint.errors import Failure, Problem
from entrypoint.system import access, children, files, identity, refusal, small


@pytest.fixture(autouse=True)
def _all_capabilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "missing_capabilities", lambda: "")


def _caught(action: Callable[[], object]) -> Problem:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - whatever number it has
        action()
    return refusal.explain(caught.value)


def test_the_file_and_the_call_are_named(tmp_path: Path) -> None:
    """Opening names its file."""
    problem = _caught(lambda: small.read(f"{tmp_path}/none"))
    assert (
        f"the system refused an operation on {tmp_path}/none (open): No such file or directory"
        == problem.what
    )


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_calls_on_a_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Writing and syncing name no file, but our function has its path."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "fsync":
        monkeypatch.setattr(os, "fsync", refuse)
        problem = _caught(lambda: files.sync_folder(str(tmp_path)))
        assert f"{tmp_path} cannot be written: No space left on device: " in problem.what
    else:
        monkeypatch.setattr(os, "write", refuse)
        problem = _caught(lambda: children.memory_file("x"))
        assert "on a file (write): No space left" in problem.what


def test_a_name_in_an_open_folder(tmp_path: Path) -> None:
    """A partial path is shown with the folder or file that it belongs to."""
    place = os.open(tmp_path, os.O_RDONLY)
    problem = _caught(lambda: small.read("none", dir_fd=place))
    os.close(place)
    assert "operation on none (open): No such file" in problem.what


def test_without_the_source_the_function_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image may lack the source."""
    real = builtins.open

    def gone(path: str, mode: str) -> object:
        if path.endswith(".py"):
            raise FileNotFoundError
        return real(path, mode)

    monkeypatch.setattr(refusal, "open", gone, raising=False)
    assert f"on {tmp_path}/none (read): No such" in _caught(lambda: small.read(f"{tmp_path}/none")).what


def test_missing_capabilities_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint for root says which capabilities are missing, if they are the cause."""
    monkeypatch.setattr(identity, "missing_capabilities", lambda: "CHOWN")
    assert "lacks the capabilities CHOWN" in refusal.explain(PermissionError(errno.EPERM, "x", "/f")).hint
    assert "capabilities" not in refusal.explain(OSError(errno.ENOSPC, "x", "/f")).hint


def test_there_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The program ends with one error and its hint."""

    def dispatch(_: object) -> int:
        return len(small.read("/no/such"))

    monkeypatch.setattr(main, "_dispatch", dispatch)
    assert 1 == main._guard([])
    text = capfd.readouterr().err
    assert "error: the system refused an operation on /no/such (open): No such file or directory" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("000001ffffffffff", ""),
        ("00000000a80425fb", ""),
        ("00000000a80425fa", "CHOWN"),
        ("0000000000000000", "CHOWN, DAC_OVERRIDE, FOWNER, SETGID, SETUID"),
    ],
)
def test_missing_capabilities_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mask: str, expected: str
) -> None:
    """They are read from the kernel's report about this process; users other than root need none."""
    monkeypatch.undo()
    (tmp_path / "status").write_text(f"Name:\tx\nCapEff:\t{mask}\nCapBnd:\t0\n")
    real = builtins.open
    monkeypatch.setattr(
        identity, "open", lambda _, *__, **options: real(tmp_path / "status", **options), raising=False
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert expected == identity.missing_capabilities()
    monkeypatch.setattr(os, "geteuid", lambda: 999)
    assert "" == identity.missing_capabilities()


def test_a_mounted_configuration_that_the_server_cannot_read(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A warning is enough for a file that it can read; a file that it cannot read is named and refused."""
    from entrypoint.start import folders

    who = identity.Identity(65_534, 65_534, (65_534,), "/", "nobody")
    closed: list[str] = []
    monkeypatch.setattr(access, "can_read", lambda path, _: path not in closed)
    conf, other = tmp_path / "postgresql.conf", tmp_path / "server.key"
    for path in (conf, other):
        path.touch(0o640)
    folders._let_through([], who)
    assert "" == capfd.readouterr().err
    closed.append(str(other))
    folders._let_through([str(conf), str(other)], who)
    text = capfd.readouterr().err
    assert f"cannot change the owner of files mounted read-only: {conf}, {other}" in text
    assert f"uid 65534 cannot read {other}" in text
    closed.append(str(conf))
    with pytest.raises(Failure) as failed:
        folders._let_through([str(conf)], who)
    assert f"{conf} is mounted read-only, and uid 65534 cannot read it" in failed.value.problems[0].what
