"""After a first start that was interrupted, the nodes begin again, unless there is a cluster by now."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from entrypoint.failover import interrupted
from entrypoint.server.context import Context
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from entrypoint.system.signals import Signals
from unit import made
from unit.failover.test_configuration import NODE

PATRONICTL = """\
#!/bin/sh
echo "$*" >>{log}
case "$3" in
list) echo "+ Cluster: shop ({state}) ----+"; exit {code} ;;
remove) cat >>{log} ;;
esac
"""


def _asked(folder: Path, state: str, code: int = 0) -> list[str]:
    """Return what patronictl was asked for, with the lines that it was given."""
    log = folder / "log"
    program = folder / "patronictl"
    program.write_text(PATRONICTL.format(log=log, state=state, code=code))
    program.chmod(0o755)
    settings = made.settings(NODE)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    context = Context(settings, Children(Signals()), current(), "/run/entrypoint", environment)
    assert settings.failover is not None
    interrupted.give_back(context, settings.failover)
    return log.read_text().splitlines()


def test_the_place_is_given_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The others would wait for this node; patronictl asks twice whether one is sure."""
    asked = ["list shop", "remove shop"]
    config = "--config-file /run/entrypoint/patroni.yml"
    assert [*(f"{config} {each}" for each in asked), "shop", "Yes I am aware"] == _asked(
        tmp_path, "initializing"
    )
    assert "begin again" in capfd.readouterr().err


@pytest.mark.parametrize("state", ["7421935286318256171", "uninitialized"])
def test_a_cluster_stays(tmp_path: Path, state: str) -> None:
    """Another node has created it meanwhile, or a person has removed the place."""
    assert 1 == len(_asked(tmp_path, state))


def test_a_dcs_that_does_not_answer(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is removed; the log says what to do if the nodes wait."""
    assert 1 == len(_asked(tmp_path, "initializing", code=1))
    assert "patronictl remove shop" in capfd.readouterr().err
