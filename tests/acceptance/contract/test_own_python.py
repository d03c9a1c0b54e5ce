"""Whatever a derived image does to its Python, PID 1 and gosu work with the image's own."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

import containers
from containers import FRESH, PYTHON, Container, script

pytestmark = [pytest.mark.better, pytest.mark.debian]

BROKEN = "raise SystemExit('broken by the test')\n"
NAMES = "apprise click jinja2 prometheus_client psutil markupsafe cronsim entrypoint os re json typing site sitecustomize usercustomize encodings"
BREAK = f'for name in {NAMES}; do mkdir -p $folder/$name; echo "{BROKEN.strip()}" >$folder/$name/__init__.py; done'
"""Puts modules that end the interpreter into `$folder`."""
OWN = "$(basename /usr/local/lib/nix-postgres/lib/python3.*)"
"""The name of the image's own Python, such as python3.13: the suite's, which is not installed."""
SITES = (
    f"/usr/lib/python3/dist-packages /usr/local/lib/{OWN}/dist-packages /usr/local/lib/python3/dist-packages"
    f" /root/.local/lib/{OWN}/site-packages /var/lib/postgresql/.local/lib/{OWN}/site-packages"
)
CHANGES: Mapping[str, str] = {
    "installed something and purged": """\
RUN apt-get update && apt-get install --yes --no-install-recommends lz4 apprise && \
    apt-get purge -y --auto-remove lz4 'python3*' 'libpython3*' && rm -rf /var/lib/apt/lists/*""",
    "replaced by a link": "RUN for path in /usr/bin/python3 /usr/local/bin/python3; do ln -sf /bin/false $path; done",
    "broken packages": f"RUN for folder in {SITES}; do {BREAK}; echo 'import broken' >$folder/a.pth; done",
    "another one first on PATH": f"""\
RUN mkdir -p /opt/venv/bin && cd /opt/venv/bin && \
    for name in python python3 pip {OWN}; do printf '#!/bin/sh\\nexit 3\\n' >$name; done && chmod 755 * && \
    touch /opt/venv/pyvenv.cfg && folder=/opt/venv/lib/{OWN}/site-packages && {BREAK}
ENV PATH=/opt/venv/bin:$PATH VIRTUAL_ENV=/opt/venv""",
    "variables of Python": f"""\
RUN folder=/opt/broken; {BREAK}
ENV PYTHONPATH=/opt/broken PYTHONHOME=/opt/broken PYTHONSTARTUP=/opt/broken/os/__init__.py PYTHONUSERBASE=/opt/broken \
    PYTHONWARNINGS=error PYTHONINSPECT=1 PYTHONVERBOSE=1 PYTHONPROFILEIMPORTTIME=1 PYTHONDEVMODE=1 PYTHONUTF8=0 \
    PYTHONOPTIMIZE=2 PYTHONPLATLIBDIR=nowhere PYTHONNOUSERSITE= PYTHONPYCACHEPREFIX=/opt/broken PYTHONMALLOC=debug""",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_derived_image_serves(change: str) -> None:
    """It starts, runs our commands and gosu, archives, reloads and stops, and dpkg finds no mistake."""
    env = {**FRESH, "ARCHIVE_URL": "file:///archive", "ARCHIVE_TOOL": "pgbackrest", "POSTGRES_TUNE": "auto"}
    env |= {"BACKUP_SCHEDULE": "0 0 1 1 *"}
    with (
        containers.build(f"FROM IMAGE\n{CHANGES[change]}\n") as image,
        containers.volume() as archive,
        containers.create(env=env, image=image, volumes={"/archive": archive}) as server,
    ):
        server.begin()
        server.ready()
        _works(server)
        assert 0 == server.stop()
        for told in ("Traceback", "broken", "import time", "Fatal Python error"):
            assert told not in server.logs().output


def _works(server: Container) -> None:
    assert "ready: primary\n" == server.exec("entrypoint", "ready").stdout
    assert "999\n" == server.exec("gosu", "postgres", "id", "-u").stdout
    containers.until(lambda: "full" in server.exec("entrypoint", "backup", "list").stdout, "a backup", 60)
    found = server.exec("entrypoint", "doctor", check=False, timeout=60)
    assert "ERROR" not in found.output, found.output
    server.sql("ALTER SYSTEM SET work_mem = '5MB'")
    containers.docker("kill", "--signal", "HUP", server.name)
    server.says("reloaded; ")
    modules = "bz2, ctypes, decimal, hashlib, json, lzma, ssl, urllib.request, xml.etree.ElementTree, zlib, zoneinfo"
    server.exec(PYTHON, "-ISc", f"import {modules}; hashlib.sha256(); ssl.create_default_context()")
    assert "" == server.exec("sh", "-c", "dpkg --audit && apt-get check >/dev/null", user="0").output


def test_pip_that_installs_over_it() -> None:
    """`pip install --target` and `--break-system-packages` write to folders that our Python ignores."""
    wheel = "import zipfile; z = zipfile.ZipFile('/tmp/click-99-py3-none-any.whl', 'w'); "
    wheel += f"z.writestr('click/__init__.py', {BROKEN!r}); "
    wheel += "[z.writestr(f'click-99.dist-info/{n}', t) for n, t in (('METADATA', 'Metadata-Version: 2.1\\nName: click\\n"
    wheel += (
        "Version: 99\\n'), ('WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'), "
    )
    wheel += "('RECORD', ''))]; z.close()"
    text = """FROM IMAGE
RUN apt-get update && apt-get install --yes --no-install-recommends python3-pip
COPY wheel.py /tmp/
RUN python3 /tmp/wheel.py && pip install --no-index --break-system-packages --ignore-installed /tmp/click-99*.whl && \
    pip install --no-index --upgrade --target /usr/lib/python3/dist-packages /tmp/click-99*.whl && ! python3 -c 'import click'
"""
    with containers.build(text, {"wheel.py": wheel}) as image, containers.serve(image=image) as server:
        assert "server" in server.exec("entrypoint", "status").stdout
        assert 0 == server.stop()


def test_a_program_with_our_name_is_not_called() -> None:
    """PID 1 starts our program by its path, whatever an earlier folder on PATH contains."""
    name = "/opt/venv/bin/entrypoint"
    text = f"FROM IMAGE\nCOPY e {name}\nRUN chmod 755 {name}\nENV PATH=/opt/venv/bin:$PATH\n"
    text += 'ENTRYPOINT ["/usr/local/bin/entrypoint"]\nCMD ["postgres"]\n'
    files = {"e": script("#!/bin/sh\necho called the wrong one >&2\nexit 3\n")}
    with (
        containers.build(text, files) as image,
        containers.serve(env={**FRESH, "POSTGRES_CONF_work_mem": "5MB"}, image=image) as server,
    ):
        server.sql("ALTER SYSTEM SET work_mem = '6MB'")
        containers.docker("kill", "--signal", "HUP", server.name)
        server.says("reloaded; ")
        assert "called the wrong one" not in server.logs().output
