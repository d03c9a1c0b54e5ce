"""The environment of Patroni."""

from __future__ import annotations

from entrypoint.failover import patroni
from entrypoint.server.context import Context
from entrypoint.system.children import Children
from entrypoint.system.identity import current
from entrypoint.system.signals import Signals
from unit import made
from unit.failover.test_configuration import NODE


def _environment(**own: str) -> dict[str, str]:
    settings = made.settings(NODE)
    assert settings.failover is not None
    context = Context(settings, Children(Signals()), current(), "/run/entrypoint", {**NODE, **own})
    return patroni.environment(context, settings.failover)


def test_look_ups_end_before_the_leaders_place_does() -> None:
    """A leader that is cut off looks up six names or more before it gives up, usually for 10 s each."""
    assert "timeout:1 attempts:2" == _environment()["RES_OPTIONS"]


def test_own_options_of_look_ups() -> None:
    """Who sets them knows the network."""
    assert "timeout:3" == _environment(RES_OPTIONS="timeout:3")["RES_OPTIONS"]


def test_no_variable_of_patroni_in_its_environment() -> None:
    """What we have read is in its configuration; as a variable it would be stronger."""
    assert [] == [name for name in _environment() if name.startswith("PATRONI_")]
