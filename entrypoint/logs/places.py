"""Where a log in JSON passes: the descriptors of the process that writes it, the server's pipes; pure."""

PIPES = (3, 4, 5, 6)
"""What arrives: on standard output, on standard error, from the server's collector as JSON and as text."""
STREAMS = (1, 2)
"""The container's own standard streams."""
FOLDER = "log"
"""The folder of the server's pipes, in the runtime folder."""
FILE = "server"
"""The pipe for what the server's processes print; with `.json` added, the pipe for the server's messages."""
INIT = "init"
"""The source of what init files and the tools of a start print."""
INITDB = "initdb"
SERVER = "postgres"
