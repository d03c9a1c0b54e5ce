"""How this node's Patroni is asked, and what its answers mean."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from entrypoint.failover import member, question, rest
from entrypoint.failover.member import Member, Peer
from unit.patroni_stub import LEADER, NOW, http, node, says, served

CLUSTER: Mapping[str, Any] = {
    "members": [
        {"name": "db1", "role": "replica", "api_url": "http://db1:8008/patroni", "lag": 77},
        {"name": "db2", "role": "leader", "api_url": "http://db2:8008/patroni"},
        {"name": "db3\n", "role": "replica", "api_url": 7, "lag": "unknown"},
    ],
    "scope": "shop",
}


def test_a_standby() -> None:
    """Its place is Patroni's answer, and who leads and how far it lags is known from the whole cluster."""
    standby = {**LEADER, "role": "replica", "sync_standby": True, "pause": True, "pending_restart": True}
    with served(says({b"/leader": http(standby, 503), b"/cluster": http(CLUSTER)})) as port:
        found = rest.look(node(port))
    assert found == Member(
        "shop",
        "db1",
        answers=True,
        role="sync standby",
        leader="db2",
        state="running",
        timeline=3,
        lag_bytes=77,
        dcs_seen=int(NOW),
        paused=True,
        pending_restart=True,
        peers=(Peer("db2", "http://db2:8008/patroni"),),
    )


def test_a_leader() -> None:
    """The status says whether the node has the leader key; its role alone does not."""
    with served(says({b"/leader": http(LEADER), b"/cluster": http([])})) as port:
        found = rest.look(node(port))
    assert ("leader", True, "db1", None) == (found.role, found.leads, found.leader, found.lag_bytes)
    with served(says({b"/leader": http(LEADER, 503), b"/cluster": http([])})) as port:
        found = rest.look(node(port))
    assert ("primary", False, "") == (found.role, found.leads, found.leader)


def test_the_dcs_is_away() -> None:
    """Then the whole cluster is not asked for: Patroni would hang."""
    away = {**LEADER, "dcs_last_seen": int(NOW) - 10000}
    with served(says({b"/leader": http(away)})) as port:
        assert rest.look(node(port)).answers
    failsafe = {**LEADER, "failsafe_mode_is_active": True}
    with served(says({b"/leader": http(failsafe)})) as port:
        assert rest.look(node(port)).failsafe


def _slowly(taken: socket.socket, _request: bytes) -> None:
    for each in http(LEADER):
        taken.sendall(bytes([each]))
        time.sleep(0.05)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda *_: time.sleep(1), id="hangs"),
        pytest.param(_slowly, id="byte by byte"),
        pytest.param(lambda taken, _: taken.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + bytes(10**6)), id="endless"),
        pytest.param(lambda taken, _: taken.sendall(b"SSH-2.0\r\n"), id="another protocol"),
        pytest.param(lambda taken, _: taken.sendall(b"HTTP/1.0 200 OK\r\nHalf: "), id="half an answer"),
        pytest.param(lambda *_: None, id="nothing"),
    ],
)
def test_no_answer(answer: Callable[[socket.socket, bytes], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever answers, the time and the memory are limited, and nothing is known."""
    with served(answer) as port:
        begun = time.monotonic()
        found = question.own(node(port))
        assert rest.fetch(found, "/leader", 0.3) is None
        assert time.monotonic() - begun < 0.9


def test_nobody_listens() -> None:
    """That is no answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert Member("shop", "db1") == rest.look(node(port))
    assert rest.fetch(question.own(node(port))._replace(host="no such host"), "/", 0.3) is None


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"\xff",
        b"[" * 100000,
        b'{"role": 7, "state": ["x"], "timeline": -1, "pause": "yes"}',
    ],
)
def test_a_body_that_is_not_patroni_s(body: bytes) -> None:
    """It is not believed."""
    found = member.read("shop", "db1", member.parse(body), leads=False)
    assert (False, None, None) == (found.paused, found.timeline, found.dcs_seen)
    assert found.state in ("", "unknown")


def test_texts_of_others() -> None:
    """They cannot control a terminal, and are short."""
    found = member.read("shop", "db1", {"state": "\x1b[2J" + "x" * 1000}, leads=False)
    assert found.state.startswith("\\x1b[2J")
    assert len(found.state) == 80
    many = {"members": [{"name": f"db{n}", "api_url": "http://a:1"} for n in range(1000)]}
    assert len(member.with_cluster(found, many).peers) < 30


def test_tls(tmp_path: Path) -> None:
    """With a certificate of Patroni, it is asked by TLS, and gets ours if we have one."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=db1", "-days", "2"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                taken, _ = server.accept()
                try:
                    with context.wrap_socket(taken, server_side=True) as encrypted:
                        encrypted.recv(1000)
                        encrypted.sendall(http({**LEADER, "padding": "x" * 100000}))
                except OSError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        files = {f"PATRONI_RESTAPI_{name}": str(certificate) for name in ("CERTFILE",)}
        mine = {"PATRONI_CTL_CERTFILE": str(certificate), "PATRONI_CTL_KEYFILE": str(key)}
        found = question.own(node(port, **files, **mine))
        answered = rest.fetch(found, "/leader", 5)
        assert answered is not None
        assert 200 == answered.status
        assert rest.fetch(question.own(node(port, **files)), "/leader", 5) is None
        thread.join()


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("http://db2:8008/patroni", ("db2", 8008, False)),
        ("https://[fd00::1]:8009/patroni", ("fd00::1", 8009, True)),
        ("ftp://db2:8008/", None),
        ("http://db2:8008/a\r\nb", None),
        ("http://user@db2:8008/", None),
        ("http://db2:99999/", None),
        ("", None),
    ],
)
def test_addresses_of_others(url: str, place: tuple[str, int, bool] | None) -> None:
    """What another node has written is asked only if it is an address."""
    found = question.other(node(1), url)
    assert place == (None if found is None else (found.host, found.port, found.tls))


def test_what_people_see() -> None:
    """A node that is well has its role, the leader, the lag and the DCS; what is wrong is added."""
    found = Member(
        "shop",
        "db1",
        answers=True,
        role="standby",
        leader="db2",
        state="running",
        lag_bytes=2048,
        dcs_seen=90.0,
    )
    assert {
        "cluster": "shop, of which this is node db1",
        "node": "standby, running",
        "leader": "db2",
        "behind": "2 KiB behind the leader",
        "DCS": "last reached 10 seconds ago",
    } == dict(member.rows(found, 100.0))
    wrong = found._replace(paused=True, pending_restart=True, failsafe=True, unlocked=True, leader="")
    shown = dict(member.rows(wrong, 100.0))
    assert ("not known", True) == (shown["leader"], "failsafe" in shown["DCS"])
    alone = wrong._replace(failsafe=False)
    assert "nobody, as far as this node knows" == dict(member.rows(alone, 100.0))["leader"]
    assert {"paused", "settings"} < shown.keys()
    assert "does not answer" == dict(member.rows(Member("shop", "db1"), 100.0))["Patroni"]


def test_what_programs_see() -> None:
    """What is not known is None, whether Patroni answers or not."""
    found = Member("shop", "db1", answers=True, role="leader", leads=True, leader="db1", dcs_seen=90.0)
    shown = member.as_json(found, 100.0)
    assert ("leader", True, "db1", 10) == tuple(
        shown[each] for each in ("role", "leads", "leader", "dcs_age_seconds")
    )
    silent = member.as_json(Member("shop", "db1"), 100.0)
    assert shown.keys() == silent.keys()
    assert {"shop", "db1", False, None} == set(silent.values())


def test_the_newest() -> None:
    """Of the whole cluster, an earlier answer knows more; a leader that is lost is not kept."""
    before = Member("shop", "db1", answers=True, leader="db2", lag_bytes=5)
    now = Member("shop", "db1", answers=True, role="standby")
    assert ("db2", 5) == (member.newest(before, now).leader, member.newest(before, now).lag_bytes)
    assert "" == member.newest(before, now._replace(unlocked=True)).leader
    assert "db1" == member.newest(before, now._replace(leader="db1")).leader
    assert not member.newest(before, Member("shop", "db1")).answers


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([{"name": "db1", "role": "replica"}, {"name": "db2", "role": "leader", "timeline": 3}], ("db2", 3)),
        ([{"name": "db2", "role": "leader", "timeline": "x"}], ("db2", None)),
        ([{"name": "db1", "role": "replica"}], ("", None)),
        ("all", ("", None)),
        ([1], ("", None)),
    ],
)
def test_who_leads(members: object, expected: tuple[str, int | None]) -> None:
    """The leader is one of the cluster's members; an odd answer names none."""
    found = member.with_cluster(Member("shop", "db1", answers=True), {"members": members})
    assert expected == (found.leader, found.leader_timeline)
