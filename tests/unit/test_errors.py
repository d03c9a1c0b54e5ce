"""Problems as values, and the exceptions that end the program."""

from __future__ import annotations

from entrypoint import exits
from entrypoint.errors import Ended, Failure, Problem, Stopped


def test_a_problem_has_exit_code_1_by_default() -> None:
    """A problem without a code ends the program with 1."""
    assert exits.FAILURE == Problem("what", "hint").code


def test_problems_are_values() -> None:
    """Two problems with the same texts are equal; another text or another code makes another problem."""
    problem = Problem("what", "hint", 12)
    assert {problem} == {problem, Problem("what", "hint", 12)}
    assert [problem, "what"] != [Problem("what", "hint", 13), "what"]
    assert Problem("other", "hint", 12) == problem._replace(what="other")
    assert Problem("what", "hint", 0) == problem._replace(code=0)


def test_a_failure_has_the_code_of_its_first_problem() -> None:
    """Several problems stay in order; the first one decides the exit code."""
    failure = Failure(Problem("a", "x", 11), Problem("b", "y"))
    assert 11 == failure.code
    assert "a; b" == str(failure)


def test_an_end_carries_its_code() -> None:
    """A helper's exit code and the number of a stop signal survive all levels of the program."""
    assert 3 == Ended(3).code
    assert 15 == Stopped(15).signal_number
    assert "3" in str(Ended(3))
    assert "15" in str(Stopped(15))
