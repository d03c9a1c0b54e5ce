"""What `doctor` says to what it has seen, evidence in, findings out: pure.

One module for each subject. Where the evidence comes from is in look/, which also has the entries of the
table of all checks.
"""

from entrypoint.doctor.judge import archive, databases, memory, places, secrets, server

__all__ = ["archive", "databases", "memory", "places", "secrets", "server"]
