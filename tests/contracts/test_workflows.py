"""The workflows are well formed, use nothing that can change unnoticed, and name only existing things."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from majors import RELEASED
from repository import REPOSITORY

FOLDER = REPOSITORY / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))


def _run(*argv: str | Path, stdin: str = "") -> tuple[int, str]:
    """Return the exit code of a program and its whole output."""
    done = subprocess.run(
        argv,
        input=stdin,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


def _jobs(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return jobs


def _scripts() -> Iterator[str]:
    for path in WORKFLOWS:
        for job in _jobs(path).values():
            yield from (step["run"] for step in job["steps"] if "run" in step)


@pytest.mark.parametrize(
    ("schema", "path"),
    [("github-workflows", path) for path in WORKFLOWS] + [("dependabot", FOLDER / "dependabot.yml")],
    ids=lambda value: getattr(value, "name", value),
)
def test_schema(schema: str, path: Path) -> None:
    """Each file is valid by GitHub's schema."""
    code, words = _run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", path)
    assert code == 0, words


def test_nothing_can_be_misused() -> None:
    """Zizmor finds nothing: no moving tags, no text of strangers in scripts, no more rights than needed."""
    zizmor = Path(sys.executable).with_name("zizmor")
    code, words = _run(zizmor, "--offline", "--no-progress", "--color=never", FOLDER)
    assert code == 0, words
    assert "No findings to report" in words


def test_actionlint() -> None:
    """Actionlint finds nothing, and if shellcheck is installed, that includes the scripts of the steps."""
    code, actionlint = _run(REPOSITORY / "tests/go-tool.sh", "actionlint")
    assert code == 0, actionlint
    assert (0, "") == _run(actionlint.splitlines()[-1], "-no-color", *WORKFLOWS)


def test_actions_are_pinned() -> None:
    """Each action is pinned by a commit, with the same version next to it everywhere."""
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for line in path.read_text(encoding="utf-8").splitlines():
            if "uses:" in line:
                found = re.search(r"uses: (\S+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$", line)
                assert found, line
                pins.setdefault(found[1], set()).add(f"{found[2]} {found[3]}")
    assert {"actions/checkout", "cachix/install-nix-action"} <= set(pins)
    assert [] == [name for name, commits in pins.items() if len(commits) > 1]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_refer_to_existing_jobs(path: Path) -> None:
    """Every job and every output that a job needs exists."""
    jobs = _jobs(path)
    for name, job in jobs.items():
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        assert set() == set(needs) - set(jobs), name
        for other, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", str(job)):
            assert other in needs, name
            assert output in jobs[other]["outputs"], name
        ids = {step["id"] for step in job["steps"] if "id" in step}
        assert set() == set(re.findall(r"steps\.(\w+)\.outputs", str(job))) - ids, name
        assert "timeout-minutes" in job, name


def _writes(job: Any) -> bool:
    return "write" in str(job.get("permissions", "write"))


TEST_CODE = re.compile(
    r"\b(make|pytest|pip|uv|npm|go|nix build|nix flake|docker run|docker build|docker exec)\b|\.ci/run|tests/"
)
"""Actions and programs that run other people's code, or code under test."""


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_that_may_write_run_no_tests(path: Path) -> None:
    """A job that may publish, sign or release builds nothing and runs no test, and no test runs before its input is fixed."""
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    jobs = workflow["jobs"]
    assert "write" not in str(workflow["permissions"])
    writing = {name for name, job in jobs.items() if "permissions" in job and _writes(job)}
    for name in writing:
        scripts = "\n".join(step.get("run", "") for step in jobs[name]["steps"])
        assert [] == [found[0] for found in TEST_CODE.finditer(scripts)], name
    tests = {name for name, job in jobs.items() if re.search(r"make \w+|\.ci/run", str(job))}
    assert tests
    assert set() == tests & writing
    for name in tests:
        assert "write" not in str(jobs[name].get("permissions", workflow["permissions"]))


def test_published_images_are_identified_by_digest() -> None:
    """After the push, no tag leads to an image: tests, signatures and the index use digests from one job's output."""
    (images,) = (path for path in WORKFLOWS if path.name == "images.yml")
    jobs = _jobs(images)
    assert ["build"] == [jobs["push"]["needs"]], "before any test could touch what it takes"
    for name in ("test", "publish"):
        assert "needs.push.outputs.digests" in str(jobs[name]["env"])
        assert "download-artifact" not in str(jobs[name])
    (create,) = re.findall(r"imagetools create (.*)", str(jobs["publish"]).replace("\\n", "\n"))
    assert create.endswith('"$IMAGE@$AMD64" "$IMAGE@$ARM64"')


def test_python_packages_are_taken_by_hash() -> None:
    """The one package that pip installs has its hashes next to it; uv takes the hashes of the others from uv.lock."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    installs = re.findall(r"pip install (.*)", makefile)
    assert installs
    assert [] == [line for line in installs if "--require-hashes" not in line]
    assert re.findall(r"uv sync (.*)", makefile)[0].startswith("--quiet --locked")
    wanted = (REPOSITORY / ".ci/uv.txt").read_text(encoding="utf-8")
    assert re.search(r"^uv==[\d.]+ \\$", wanted, re.MULTILINE)
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", wanted)) >= 2


def test_steps_can_be_parsed() -> None:
    """Each step has valid syntax for bash, and gets expressions of the workflow only through its environment."""
    scripts = list(_scripts())
    assert len(scripts) > 5
    for script in scripts:
        assert (0, "") == _run("bash", "-n", stdin=script), script
        assert "${{" not in script


def test_called_programs_exist() -> None:
    """These are our own programs, targets of make and outputs of the flake."""
    text = "\n".join(_scripts())
    programs = set(re.findall(r"(?:^|\s)((?:\.ci|image|nix)/[\w.-]+)", text)) - {"nix/official.json"}
    assert {".ci/release-notes", ".ci/run", "image/collations.py", "nix/official.py"} == programs
    for name in programs:
        assert (REPOSITORY / name).stat().st_mode & 0o111, name
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"\bmake (\w+)", text)
    assert ["docs", "acceptance", "ready"] == targets
    assert [] == [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
    flake = (REPOSITORY / "flake.nix").read_text(encoding="utf-8")
    assert {"image-$TAG-stream", "release"} == set(re.findall(r"\.#([\w$-]+)", text))
    assert "        release = " in flake


def test_every_image_is_published() -> None:
    """The jobs that build, test and publish have one tag for each image of a released major, and wait for all of them."""
    ready = json.loads((REPOSITORY / "nix/ready.json").read_text(encoding="utf-8"))
    more = [f"{major}-{name}" for name, row in sorted(ready.items()) for major in row["majors"]]
    tags = [*RELEASED, *(f"{major}-official" for major in RELEASED), *more]
    (images,) = (path for path in WORKFLOWS if path.name == "images.yml")
    jobs = _jobs(images)
    for job in ("build", "test", "publish"):
        assert tags == jobs[job]["strategy"]["matrix"]["tag"], job
    architectures = jobs["build"]["strategy"]["matrix"]["architecture"]
    assert architectures == jobs["test"]["strategy"]["matrix"]["architecture"]
    assert re.findall(r"'length == (\d+)'", str(jobs["push"]["steps"]).replace("\\'", "'")) == [
        str(len(tags) * len(architectures))
    ]


def test_release_notes(tmp_path: Path) -> None:
    """The notes of a version are the text under its heading; a version without an entry is refused."""
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(
        "# Changelog\n\n## Unreleased\n\n- new\n\n## [1.10.0] - 2026-12-01\n\n### Added\n\n- ten\n\n## 1.1.0\n\n- one\n",
        encoding="utf-8",
    )
    program = REPOSITORY / ".ci/release-notes"
    assert (0, "\n### Added\n\n- ten\n") == _run(program, "1.10.0", changelog)
    assert (0, "\n- one\n") == _run(program, "1.1.0", changelog)
    code, words = _run(program, "1.1", changelog)
    assert 1 == code
    assert 'no entry "## 1.1"' in words
    assert 1 == _run(program, "2.0.0")[0], "the real changelog"
