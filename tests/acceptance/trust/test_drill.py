"""A drill restores other people's data, which must not reach the real server, its files, its processes or the network."""

from __future__ import annotations

import archives
import containers
from containers import FRESH, Container

SQL = "/docker-entrypoint-drill.d"

#: Objects of a role that a drill's superuser might run: a function with the name of amcheck's, and a view.
PLANTED = """
CREATE FUNCTION app.grab() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN EXECUTE 'ALTER ROLE app SUPERUSER'; END IF; RETURN true; END $$;
CREATE FUNCTION app.bt_index_check(index oid, heapallindexed boolean) RETURNS void LANGUAGE plpgsql
    AS $$ BEGIN PERFORM app.grab(); END $$;
CREATE FUNCTION app.run(what text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', what); RETURN 'done'; EXCEPTION WHEN OTHERS THEN RETURN SQLERRM; END $$;
CREATE VIEW app.kept (a, b, c, d, e) AS SELECT
    app.run('psql -h /var/run/postgresql -U postgres -c "CREATE TABLE reached ()"'),
    app.run('psql -h 127.0.0.1 -U postgres -c "CREATE TABLE reached ()"'),
    app.run('touch DATA/reached /tmp/reached'),
    app.run('cp DATA/pg_hba.conf DRILL/reached'),
    app.run('kill -INT POSTMASTER');
"""
CHECKS = {
    "10_rights.sql": "SELECT 1 / (count(*) = 0)::int FROM pg_roles WHERE rolname = 'app' AND rolsuper",
    "20_view.sql": "SELECT * FROM app.kept",
    "30_reached.sql": "SELECT 1 / (pg_stat_file('reached', true) IS NULL)::int",
    "40_alone.sql": "SELECT 1 / (count(*) = 0)::int FROM pg_stat_activity WHERE backend_type ~ 'launcher|cron'",
}


def _put(server: Container, name: str, text: str) -> None:
    server.exec("bash", "-c", f"mkdir -p {SQL} && cat >{SQL}/{name}", user="0", stdin=text)


def test_a_drill_reaches_nothing_else() -> None:
    """A role's function does not replace amcheck's, and a role's view run as superuser stays in the scratch server."""
    with archives.made("pgbackrest", None) as archive, archive.create(FRESH) as server:
        server.begin()
        server.ready()
        server.sql(
            "CREATE ROLE app LOGIN; CREATE SCHEMA app AUTHORIZATION app; CREATE EXTENSION amcheck SCHEMA app"
        )
        data = containers.data_folder()
        planted = PLANTED.replace("DATA", data).replace("POSTMASTER", str(server.postmaster()))
        planted = planted.replace("DRILL", "/var/lib/postgresql/drill/entrypoint.drill/cluster")
        server.sql(planted, user="app", database="postgres")
        for name, text in CHECKS.items():
            _put(server, name, text)
        server.exec("entrypoint", "backup", "push", timeout=120)
        before = server.postmaster()
        done = server.exec("entrypoint", "backup", "drill", check=False, timeout=120)
        assert 0 == done.code, done.output
        assert "" == server.sql("SELECT relname FROM pg_class WHERE relname = 'reached'")
        assert "" == server.shell(f"ls {data}/reached /tmp/reached 2>/dev/null || true")
        assert before == server.postmaster()
        assert "app" == server.sql(
            "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'amcheck'"
        )
