"""The tools for which the examples are made accept them, and the examples contain only what the program knows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from entrypoint.archivers import tool_variables
from entrypoint.archivers.known import TOOLS
from entrypoint.settings import environment, loading, variables
from examples import EXAMPLES, READERS, Example, stop_timeouts
from layout import layout_of
from nix import Nix
from platforms import PLATFORMS
from repository import REPOSITORY


@pytest.fixture(scope="module", params=READERS)
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    found: Example = request.param(Nix(tmp_path_factory.mktemp("nix")))
    return found


def test_only_known_variables(example: Example) -> None:
    """Every variable is declared by us or by an archiver, and the program reports no problem."""
    given = {
        **example.environment,
        "PGDATA": "/var/lib/postgresql/data",
        "PG_MAJOR": "17",
        "PATH": "/usr/bin",
    }
    read = environment.read(given, lambda path: f"content of {path}")
    assert () == read.problems + read.warnings
    unknown = [
        name
        for name in example.environment
        if not (base := name.removesuffix("_FILE")).startswith("POSTGRES_CONF_")
        and base not in variables.table()
        and not tool_variables.is_known(base)
    ]
    assert [] == unknown
    for tool in TOOLS:
        wanted, problems = loading.load(read.values, [], {name: name == tool for name in TOOLS})
        assert [] == problems
        assert wanted.archive is not None
        assert tool == wanted.archive.tool.name


def test_secrets_are_files(example: Example) -> None:
    """The example contains no secret; each comes from a file that the example puts into the container."""
    named = {value for name, value in example.environment.items() if name.endswith("_FILE")}
    assert example.secrets == named
    secret = {"POSTGRES_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert {f"{name}_FILE" for name in secret} <= set(example.environment)
    assert set() == secret & set(example.environment)


def test_archiving_and_backups(example: Example) -> None:
    """WAL goes to S3, base backups are taken, and old ones are removed."""
    assert "s3://bucket/db" == example.environment["ARCHIVE_URL"]
    assert "BACKUP_RETAIN_DAYS" in example.environment


def test_places_and_times(example: Example) -> None:
    """The volume is the image's; /dev/shm is larger than Docker's default; SIGKILL comes later than the program's own end."""
    assert frozenset(layout_of(17)["config"]["volumes"]) == example.volumes
    assert "256m" == example.shared_memory
    assert stop_timeouts() < example.stop_seconds
    assert example.asks_ready


def _schema(builtin: str, path: Path) -> None:
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", builtin, str(path)]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_schema() -> None:
    """The compose file is valid by the specification's schema."""
    _schema("vendor.compose-spec", EXAMPLES / "compose.yaml")


def test_kubernetes_schema() -> None:
    """The objects are valid by Kubernetes' own schemas, without unknown keys."""
    for thing in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8")):
        kubernetes_validate.validate(thing, "1.34", strict=True)


def test_kubernetes_is_restricted() -> None:
    """The pod keeps to the Pod Security Standard `restricted`, so it runs in a namespace that enforces that."""
    *_, stateful = yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text(encoding="utf-8"))
    pod = stateful["spec"]["template"]["spec"]
    assert set() == {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert {"emptyDir", "secret"} == {kind for volume in pod["volumes"] for kind in volume} - {"name"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        assert {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        } == container["securityContext"]
        assert not any("hostPort" in port for port in container["ports"])
        probes = [container.get(name, {}) for name in ("startupProbe", "readinessProbe", "livenessProbe")]
        assert all("host" not in probe.get(kind, {}) for probe in probes for kind in ("httpGet", "tcpSocket"))


def test_cloudnativepg() -> None:
    """The cluster uses the catalog's image, the image's user and locale, and every field that the page names is there."""
    catalog, cluster = yaml.safe_load_all((EXAMPLES / "cloudnativepg.yaml").read_text(encoding="utf-8"))
    assert ["postgresql.cnpg.io/v1"] * 2 == [catalog["apiVersion"], cluster["apiVersion"]]
    spec = cluster["spec"]
    used = spec["imageCatalogRef"]
    assert ("ImageCatalog", catalog["metadata"]["name"]) == (used["kind"], used["name"])
    (image,) = catalog["spec"]["images"]
    assert (used["major"], f"nix-postgres:{used['major']}") == (image["major"], image["image"])
    layout = layout_of(image["major"])
    assert spec["postgresUID"] in {user["id"] for user in layout["users"]}
    initial = spec["bootstrap"]["initdb"]
    known = {locale.partition("/")[0] for locale in layout["locales"]}
    assert {initial["localeCollate"], initial["localeCType"]} <= known
    page = (REPOSITORY / "docs/how-to/run-under-cloudnativepg.md").read_text(encoding="utf-8")
    elsewhere = {"env", "bootstrap.initdb.import"}
    for field in set(re.findall(r"`spec\.([A-Za-z.]+)`", page)) - elsewhere:
        found = spec
        for name in field.split("."):
            found = found[name]


def test_every_example_is_tested() -> None:
    """Each file in the folder has its parser here."""
    files = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*") if path.is_file()}
    monitoring = {path for path in files if path.startswith("prometheus/")}
    files -= {each.file for each in PLATFORMS} | {"portainer/compose.yaml", "swarm/settings.conf"}
    files -= {f"fail-over/{name}" for name in ("compose.yaml", "haproxy.cfg", "nomad.hcl", "witness.yaml")}
    assert {
        "cloudnativepg.yaml",
        "compose.yaml",
        "db.container",
        "kubernetes.yaml",
        "nixos/flake.nix",
        "nomad.hcl",
    } == files - monitoring
    mounted = {f"./{path.removeprefix('prometheus/')}" for path in monitoring} - {"./compose.yaml"}
    assert mounted == {
        volume.split(":")[0]
        for service in MONITORED["services"].values()
        for volume in service["volumes"]
        if volume.startswith("./")
    }


MONITORED = yaml.safe_load((EXAMPLES / "prometheus" / "compose.yaml").read_text(encoding="utf-8"))


def test_monitored_database(tmp_path: Path) -> None:
    """The database next to Prometheus is configured without a problem, and the file follows the specification."""
    path = tmp_path / "compose.json"
    path.write_text(json.dumps(MONITORED), encoding="utf-8")
    _schema("vendor.compose-spec", path)
    given = {**MONITORED["services"]["db"]["environment"], "PGDATA": "/data", "PG_MAJOR": "17"}
    read = environment.read(given, lambda path: f"content of {path}")
    wanted, problems = loading.load(read.values, [], dict.fromkeys(TOOLS, True))
    assert ((), []) == (read.problems + read.warnings, problems)
    assert wanted.watching is not None
    assert wanted.watching.token == "content of /run/secrets/status_token"


PAGES = [REPOSITORY / "README.md", *sorted(REPOSITORY.glob("docs/**/*.md"))]
COMPOSE = [
    (page, block)
    for page in PAGES
    for block in re.findall(r"(?ms)^ *```yaml\n(.*?)^ *```", page.read_text(encoding="utf-8"))
    if re.match(r"\s*services:", block)
]


@pytest.mark.parametrize(
    ("page", "block"), COMPOSE, ids=[str(page.relative_to(REPOSITORY)) for page, _ in COMPOSE]
)
def test_compose_files_in_pages_are_valid(page: Path, block: str, tmp_path: Path) -> None:
    """Each compose file in README.md and docs/ follows the specification's schema."""
    path = tmp_path / f"{page.stem}.json"
    path.write_text(json.dumps(yaml.safe_load(block)), encoding="utf-8")
    _schema("vendor.compose-spec", path)


def test_the_readme_has_a_compose_file() -> None:
    """The page that a newcomer reads first has one that is tested."""
    assert PAGES[0] in [page for page, _ in COMPOSE]
