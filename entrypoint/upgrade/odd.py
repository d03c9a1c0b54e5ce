"""What pg_upgrade cannot name, and what it leaves behind without a word."""

from __future__ import annotations

from entrypoint.finding import Finding, error, several, warning
from entrypoint.postgres import sql
from entrypoint.server import sessions
from entrypoint.upgrade import underway

TYPE_CHECKING = False
if TYPE_CHECKING:
    from entrypoint.server.context import Context

_ASKED = """\
SELECT json_build_object(
    'names', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database
              WHERE datname ~ '[\\r\\n]'),
    'origins', (SELECT coalesce(json_agg(roname ORDER BY roname), '[]') FROM pg_replication_origin
                WHERE roname NOT IN (SELECT 'pg_' || oid FROM pg_subscription)))
"""


def look(old_context: Context, host: str) -> list[Finding]:
    """Ask the private server of the old cluster."""
    found = sessions.query_json(old_context, _ASKED, dict, host=host, patience=sessions.PATIENCE)
    findings = [
        error(
            f"the name of the database {name!r} has a line break, which pg_upgrade cannot handle",
            f"rename it with the old image: ALTER DATABASE {sql.identifier(name)} RENAME TO …",
            underway.PAGE,
        )
        for name in found["names"]
    ]
    if found["origins"]:
        findings.append(
            warning(
                f"the upgrade drops the replication origins {several(found['origins'])}: no subscription has "
                "them, so another program has made them",
                "note their progress (pg_replication_origin_status), and make them again afterwards: "
                "pg_replication_origin_create, pg_replication_origin_advance",
                underway.PAGE,
            )
        )
    return findings
