"""Our parser of configuration files against the server's own: the same settings from the oddest lines."""

from __future__ import annotations

import json

from containers import PYTHON, Container, serve

ODD = (
    "work_mem = 64MB", "Work_Mem 64MB", "work_mem'64MB'", "work_mem='64MB'#x", "work_mem = 64MB x",
    "work_mem = 1.5GB", "work_mem = '1.5GB'", "work_mem == 1", "work_mem", "work_mem =", "= 3", "work-mem = 3",
    "work_mem = 0x1000", "work_mem = 0xfoo", "work_mem = 1e5", "work_mem = +5000", "work_mem = -5", "work_mem = .",
    "random_page_cost = 1.", "random_page_cost = .5", "random_page_cost = 1.5e0", "random_page_cost=-.5E-1",
    "a.b = c", "a.b.c = d", "a.b = a.b-c/d:e", "a. b = c", "a.b = 'it''s'", "a.b = 'it\\'s'", "a.b = 'x\\ny\\101z'",
    "a.b = '\\\\'", "a.b = 'open", "a.b = 'x' 'y'", "a.b = 'x''y'", "a.b = ''", "a.b = '#'", "a.b = #", "a.b = x#y",
    "a.b = x # y 'z", "\ta.b\t\t=\tx\t", "a.b = x\r", "a.b = \u00e4\u00f6", "a.b\u00e4 = x", "a.b = $x", "a.b = x;",
    "a.b = (x)", "a.b = 'a\tb'", "a.b = x_1", "_a._b = 1", "a1.b2 = 3c", "1a = 2", "a.b = 5min", "a.b = 5 min",
    "a.b = 5_6", "a.b = x=y", "a.b c=d", "a.b : c", "a.b = -x", "a.b = - 1", "a.b = 1-2", "a.b = '\\b\\f\\r\\t\\q'",
    "a.b = '\\1\\12\\123'", "# a.b = c", "   ", "\f", "a.b = x\f", "include", "a.b 'x'# y", "a.b = 'x'y", "a.b=b.c", "a.b=b.c.d", "a.b=b.1", "a.b=b.",
)  # fmt: skip

SCRIPT = r"""
import json, os, subprocess, sys
sys.path.insert(0, "/usr/local/lib/nix-postgres")
from entrypoint.postgres import configfile
path = os.environ["PGDATA"] + "/odd.conf"
query = "SELECT json_agg(json_build_array(name, setting, error)) FROM pg_file_settings WHERE sourcefile = '%s'"
found = []
for line in json.load(sys.stdin):
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(line + "\n")
    asked = ["psql", "-XAtqU", "postgres", "-c", query % path]
    answer = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.strip()
    rows = json.loads(answer or "[]")
    wrong = any("syntax" in (error or "") for name, value, error in rows)
    servers = "error" if wrong else [[name.lower(), value] for name, value, error in rows]
    entries, errors = configfile.parse(line, path)
    found.append([line, servers, "error" if errors else [[entry.name, entry.value] for entry in entries]])
print(json.dumps(found))
"""


def test_the_server_reads_the_same() -> None:
    """For each line, both have the same name and value, or both report a syntax error."""
    with serve() as container:
        container.shell("echo \"include 'odd.conf'\" >> $PGDATA/postgresql.conf", user="postgres")
        answer = container.exec(
            PYTHON, "-c", SCRIPT, user="postgres", stdin=json.dumps(ODD), timeout=120
        ).stdout
    rows = json.loads(answer)
    assert len(ODD) == len(rows)
    assert [(line, servers) for line, servers, _ in rows] == [(line, ours) for line, _, ours in rows]
    assert len([row for row in rows if row[1] == "error"]) > 20


def _sources(container: Container) -> list[list[str]]:
    query = "SELECT json_agg(json_build_array(sourcefile || ':' || sourceline, name, setting) ORDER BY seqno) FROM pg_file_settings"
    found: list[list[str]] = json.loads(container.sql(query))
    return found


def test_the_server_includes_the_same() -> None:
    """Nested includes, folders and missing files give the same entries in the same order."""
    script = r"""
cd $PGDATA; mkdir -p d/e
printf "include 'd/one.conf'\ninclude_if_exists 'none'\ninclude_dir = 'd/e'\nWork_Mem = 9MB\n" >> postgresql.conf
printf "work_mem = 1MB\ninclude 'e/b.conf'\n" > d/one.conf
printf "x.a = 1\n" > d/e/b.conf; printf "x.b = 2\n" > d/e/a.conf
printf "x.c = 3\n" > d/e/.c.conf; printf "x.d = 4\n" > d/e/d.txt; printf "x.e = 5" > d/e/B.conf
"""
    ours = r"""
import json, os, sys
sys.path.insert(0, "/usr/local/lib/nix-postgres")
from entrypoint.postgres import configfile
read = lambda path: open(path, encoding="utf-8", newline="").read()
found = [configfile.read(os.environ["PGDATA"] + name, read, os.listdir) for name in ("/postgresql.conf", "/postgresql.auto.conf")]
print(json.dumps([[entry.where, entry.name, entry.value] for entries, _ in found for entry in entries]))
"""
    with serve() as container:
        container.sql("ALTER SYSTEM SET jit = off")
        container.shell(script, user="postgres")
        expected = [[place, name.lower(), value] for place, name, value in _sources(container)]
        found = json.loads(container.exec(PYTHON, "-c", ours, user="postgres").stdout)
    assert expected == found
    assert len(found) > 15
