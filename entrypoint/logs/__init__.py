"""The log as JSON: one object a line, written by a process (`jsonlines`) that PID 1 keeps up (`keeper`)."""
