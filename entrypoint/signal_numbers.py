"""The signals without the enumerations around them, which would cost PID 1 a megabyte for good; pure.

`signal` here is the C module below the standard library's `signal`: the same functions with plain numbers.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal", "signal_name"]


def signal_name(number: int) -> str:
    """Return a signal's name; most real-time signals have none.

    >>> signal_name(15)
    'SIGTERM'
    >>> signal_name(40)
    'signal 40'
    """
    names = {
        getattr(signal, name): name
        for name in dir(signal)
        if name.startswith("SIG") and not name.startswith(("SIG_", "SIGCLD", "SIGPOLL"))
    }
    return names.get(number, f"signal {number}")
