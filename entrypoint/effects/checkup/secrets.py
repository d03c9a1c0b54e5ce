"""Checks of secrets."""

from entrypoint.effects.checkup.sight import Check

CHECKS: tuple[Check, ...] = ()
