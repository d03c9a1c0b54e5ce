"""Checks of databases."""

from entrypoint.effects.checkup.sight import Check

CHECKS: tuple[Check, ...] = ()
