"""SQL against sessions that write although transactions are read-only; pure.

A session can set its own transactions to read-write, and a transaction that wrote before the disk became full
continues. So every session with a transaction that writes is ended. One that comes back at once would still
write most of the time, so the tables of its database are locked against writing as well.
"""

from __future__ import annotations

SECONDS = 15
"""Seconds for which a script ends sessions; then it is started again. It ends earlier with its client."""

_REPAIRS = """a.client_port = -1 AND EXISTS (
    SELECT FROM pg_roles r WHERE r.oid = a.usesysid AND r.rolsuper)"""
"""A superuser's session through the socket: a person who makes room, with `docker exec`."""

_ENDING = """
DO $ending$
DECLARE
    began constant timestamptz := clock_timestamp();
    found record;
BEGIN
    LOOP
        FOR found IN
            SELECT a.pid, a.datname, a.usename, a.backend_type
            FROM pg_stat_activity a
            WHERE a.pid <> pg_backend_pid()
                AND a.backend_type IN ('client backend', 'autovacuum worker', 'logical replication worker',
                    'logical replication apply worker', 'background worker')
                AND (a.backend_xid IS NOT NULL OR (a.backend_type <> 'autovacuum worker'
                    AND EXISTS (SELECT FROM pg_stat_progress_vacuum v WHERE v.pid = a.pid)))
                AND a.query NOT LIKE '%to prevent wraparound%'
                AND NOT ({spared})
        LOOP
            IF pg_terminate_backend(found.pid) THEN
                RAISE NOTICE '%', json_build_array(found.datname, found.usename, found.backend_type);
            END IF;
        END LOOP;
        -- Nobody waits for our locks: whoever makes room gets his, everybody else gets an error.
        PERFORM CASE WHEN {repairs} THEN pg_terminate_backend(l.pid) ELSE pg_cancel_backend(a.pid) END
        FROM pg_stat_activity a, pg_stat_activity l
        WHERE a.wait_event_type = 'Lock' AND l.pid = ANY (pg_blocking_pids(a.pid))
            AND l.application_name = 'entrypoint' AND l.usename = current_user AND l.pid <> pg_backend_pid();
        COMMIT;
        EXIT WHEN clock_timestamp() > began + interval '{seconds} s';
        PERFORM pg_sleep(0.02);
        COMMIT;
    END LOOP;
END
$ending$;
"""

_LOCKING = """
BEGIN;
SET LOCAL lock_timeout = '100ms';
DO $locking$
DECLARE
    began constant timestamptz := clock_timestamp();
    found record;
BEGIN
    LOOP
        FOR found IN
            SELECT c.oid, n.nspname, c.relname
            FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
            WHERE c.relkind = 'r' AND c.relpersistence <> 't'
                AND (n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
                    OR c.oid = 'pg_catalog.pg_class'::regclass)
                AND NOT EXISTS (SELECT FROM pg_locks k WHERE k.pid = pg_backend_pid() AND k.granted
                    AND k.relation = c.oid AND k.mode = 'ShareLock' AND k.locktype = 'relation'
                    AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
            ORDER BY coalesce(s.n_tup_ins + s.n_tup_upd, 0) DESC
            LIMIT {most}
        LOOP
            BEGIN
                EXECUTE format('LOCK TABLE ONLY %I.%I IN SHARE MODE', found.nspname, found.relname);
            EXCEPTION WHEN OTHERS THEN
                NULL; -- its writer is ended soon, or it is gone
            END;
        END LOOP;
        EXIT WHEN clock_timestamp() > began + interval '{seconds} s';
        PERFORM pg_sleep(0.5);
    END LOOP;
END
$locking$;
ROLLBACK;
"""
_MOST_LOCKS = 2000
"""Tables that are locked: with PostgreSQL's defaults, there is room for 6,400 locks in all."""


def ending(*, spare_repairs: bool) -> str:
    """Return a script that ends all sessions that write, and prints a JSON array about each as a notice.

    With `spare_repairs`, those of superusers through the socket continue.
    """
    spared = f"a.backend_type = 'client backend' AND {_REPAIRS}" if spare_repairs else "false"
    return _ENDING.format(spared=spared, repairs=_REPAIRS, seconds=SECONDS)


def locking() -> str:
    """Return a script that locks the tables of its database against writing, as long as it runs."""
    return _LOCKING.format(most=_MOST_LOCKS, seconds=20 * SECONDS)
