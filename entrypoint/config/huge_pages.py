"""The kernel's huge pages against what the server is to have; pure."""

from entrypoint.finding import Finding, error, ok


def judge(wanted: str, *, pages: int, limit: int | None, least: int = 1) -> list[Finding]:
    """Judge huge_pages.

    `pages` are the kernel's, `limit` the container's own in bytes, if it has one; a server takes at least
    `least` pages.
    """
    if wanted == "off" or (wanted == "try" and not pages):
        return []
    if wanted == "on" and pages < least:
        mend = f"reserve more on the host (sysctl vm.nr_hugepages={least}, and some), or set huge_pages=try"
        has = f"{pages} of the {least} or more that it needs" if pages else "none"
        return [error(f"huge_pages is on, but the kernel has {has}: the server does not start", mend)]
    if limit == 0:
        what = "the kernel has huge pages, but this container may use none: the server ends with “Bus error”"
        return [error(what, "set huge_pages=off, or raise the limit of the container's hugetlb cgroup")]
    return [ok(f"the kernel has {pages} huge pages")]
