"""Memory, processors and kernel features against the settings; pure."""

from entrypoint.checks import Finding, ok, warning


def shared_memory(total: int) -> list[Finding]:
    """Judge the bytes of /dev/shm."""
    megabytes = total // 1024**2
    if megabytes > 64:
        return [ok(f"{megabytes} MiB in /dev/shm")]
    what = f"{megabytes} MiB in /dev/shm, Docker's default: parallel queries can end with “could not resize”"
    return [warning(what, "--shm-size=256m, or shm_size: 256m in compose")]
