"""The files for platforms follow their formats, and hold what docs/how-to/deploy.md advises."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from entrypoint.archivers.known import TOOLS
from entrypoint.settings import environment, loading
from examples import EXAMPLES, Example, stop_timeouts
from layout import layout_of
from platforms import PLATFORMS, Platform, interpolated
from repository import REPOSITORY

#: Portainer's documentation, "App template JSON format"; a stack of compose is type 3.
TEMPLATE: dict[str, Any] = {
    "type": "object",
    "required": ["version", "templates"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": "3"},
        "templates": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "type", "title", "description", "repository"],
                "additionalProperties": False,
                "properties": {
                    "id": {"type": "integer"},
                    "type": {"const": 3},
                    "platform": {"enum": ["linux", "windows"]},
                    "categories": {"type": "array", "items": {"type": "string"}},
                    **{name: {"type": "string"} for name in ("title", "description", "note", "logo", "name")},
                    "repository": {
                        "type": "object",
                        "required": ["url", "stackfile"],
                        "additionalProperties": False,
                        "properties": {"url": {"type": "string"}, "stackfile": {"type": "string"}},
                    },
                    "env": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["name", "label"],
                            "additionalProperties": False,
                            "properties": {
                                name: {"type": "string"}
                                for name in ("name", "label", "description", "default")
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture(params=PLATFORMS, ids=[platform.file for platform in PLATFORMS])
def platform(request: pytest.FixtureRequest) -> Platform:
    found: Platform = request.param
    return found


@pytest.fixture
def example(platform: Platform) -> Example:
    return platform.read()


def test_the_program_accepts_it(example: Example) -> None:
    """Every variable is known, and archiving, backups and messages are set up without a problem."""
    given = {
        **example.environment,
        "PGDATA": "/var/lib/postgresql/data",
        "PG_MAJOR": "17",
        "PATH": "/usr/bin",
    }
    read = environment.read(given, lambda path: "" if path.endswith("urls") else f"content of {path}")
    assert () == read.problems + read.warnings
    wanted, problems = loading.load(read.values, [], dict.fromkeys(TOOLS, True))
    assert [] == problems
    assert wanted.archive is not None
    assert {"BACKUP_SCHEDULE", "BACKUP_RETAIN_DAYS"} <= set(example.environment)
    assert [name for name in example.environment if name.removesuffix("_FILE") == "NOTIFY_URLS"]


def test_secrets(platform: Platform, example: Example) -> None:
    """Passwords and keys come from files, except where the platform has nothing but variables, and none is in the file."""
    named = {value for name, value in example.environment.items() if name.endswith("_FILE")}
    assert example.secrets == named
    secret = {"POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "NOTIFY_URLS"}
    if platform.secret_files:
        assert set() == secret & set(example.environment)
        assert "POSTGRES_PASSWORD_FILE" in example.environment
    assert not re.search("AKIA|password: *\\w", (EXAMPLES / platform.file).read_text(encoding="utf-8"))


def test_places_and_times(example: Example) -> None:
    """The volume is the image's, the archive is elsewhere, and memory and times are those of the manual."""
    (data,) = layout_of(17)["config"]["volumes"]
    local = example.environment["ARCHIVE_URL"] == "file:///archive"
    assert ({data, "/archive"} if local else {data}) == example.volumes
    assert "256m" == example.shared_memory
    assert stop_timeouts() < example.stop_seconds
    assert example.asks_ready


def test_the_next_major(platform: Platform) -> None:
    """Each file says where the volume is from PostgreSQL 18 on."""
    assert re.search("PostgreSQL 18", (EXAMPLES / platform.file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda path: path.parent.name)
def test_compose_schema(path: Path, tmp_path: Path) -> None:
    """Each file is valid by the specification's schema, also with what somebody types in."""
    filled = tmp_path / "compose.yaml"
    filled.write_text(interpolated(path.read_text(encoding="utf-8")), encoding="utf-8")
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*argv, filled], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_portainer_schema(tmp_path: Path) -> None:
    """The template has the fields of version 3, and its stack is in this repository."""
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(TEMPLATE), encoding="utf-8")
    path = EXAMPLES / "portainer/templates.json"
    argv = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(schema), str(path)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    (template,) = json.loads(path.read_text(encoding="utf-8"))["templates"]
    assert (REPOSITORY / template["repository"]["stackfile"]).is_file()


def test_swarm_settings() -> None:
    """The stack's config is a file next to it, and lands in the folder that the server reads."""
    stack = yaml.safe_load((EXAMPLES / "swarm/stack.yaml").read_text(encoding="utf-8"))
    assert (EXAMPLES / "swarm" / stack["configs"]["settings"]["file"]).is_file()
    (config,) = stack["services"]["db"]["configs"]
    assert config["target"].startswith("/docker-entrypoint-conf.d/")
    assert 1 == stack["services"]["db"]["deploy"]["replicas"]


def test_every_file_has_a_section() -> None:
    """The page links each file."""
    page = (REPOSITORY / "docs/how-to/run-on-platforms.md").read_text(encoding="utf-8")
    assert [] == [each.file for each in PLATFORMS if f"../../examples/{each.file}" not in page]
