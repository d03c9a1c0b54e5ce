"""Exit codes: the container ends with the exit code of its child."""

from __future__ import annotations

import os

from entrypoint import exits

CORE_DUMPED = 0x80


def _expected(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def test_every_exit_code_is_passed_on() -> None:
    """A child's own exit code stays unchanged, from 0 to 255."""
    statuses = [code << 8 for code in range(256)]
    assert list(range(256)) == [exits.from_wait_status(status) for status in statuses]


def test_every_signal_becomes_128_and_its_number() -> None:
    """A death by signal is 128 + signal, with and without a core dump, as in CPython's wait status."""
    statuses = [number | core for number in range(1, 65) for core in (0, CORE_DUMPED)]
    expected = [_expected(status) for status in statuses]
    assert expected == [exits.from_wait_status(status) for status in statuses]


def test_refusals_have_codes_of_their_own() -> None:
    """No refusal shares its code with another refusal, with psql (1 to 3), the shell or the container engine."""
    refusals = [
        exits.UNFINISHED_FIRST_START,
        exits.VOLUME_IN_USE,
        exits.ARCHIVE_REFUSED,
        exits.UNFINISHED_RESTORE,
    ]
    assert len(refusals) == len(set(refusals))
    assert [] == [code for code in refusals if code <= 3 or code >= 125]
