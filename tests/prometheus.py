"""A Prometheus of the test's own, with the rules of examples/prometheus."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from containers import until
from repository import REPOSITORY

__all__ = ["FOLDER", "SILENT", "Prometheus", "promtool", "started"]

FOLDER = REPOSITORY / "examples" / "prometheus"
SILENT = 20
"""Seconds for which a watch must be silent before that is an alert here; the rule for users says 900."""


class Prometheus:
    """A running Prometheus, which scrapes and evaluates every second."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self._url = f"http://127.0.0.1:{port}"
        self._targets: list[dict[str, Any]] = []

    def add(self, instance: str, address: str) -> None:
        """Scrape an address from now on."""
        self._targets.append({"targets": [address], "labels": {"instance": instance}})
        path = self.folder / "targets.json"
        path.with_suffix(".new").write_text(json.dumps(self._targets), encoding="utf-8")
        path.with_suffix(".new").rename(path)

    def get(self, path: str, **query: str) -> Any:
        """Return the data of an answer of its API."""
        with urlopen(f"{self._url}{path}?{urlencode(query)}", timeout=10) as answer:
            text = answer.read()
        return json.loads(text)["data"] if path.startswith("/api") else text.decode()

    def is_ready(self) -> bool:
        """Return whether it answers queries."""
        try:
            return "Ready" in self.get("/-/ready")
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series that an expression gives now."""
        found: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["result"]
        return found

    def firing(self, instance: str) -> set[str]:
        """Return the alerts of an instance that fire now."""
        found = self.query(f'ALERTS{{alertstate="firing",instance="{instance}"}}')
        return {each["metric"]["alertname"] for each in found}

    def fires(self, instance: str, *alerts: str, timeout: float = 45) -> None:
        """Wait until each of these alerts fires."""
        self._wait(lambda: set(alerts) <= self.firing(instance), f"{alerts} fire", instance, timeout)

    def ends(self, instance: str, *alerts: str, timeout: float = 45) -> None:
        """Wait until none of these alerts fires."""
        self._wait(lambda: not set(alerts) & self.firing(instance), f"{alerts} end", instance, timeout)

    def _wait(self, condition: Callable[[], bool], what: str, instance: str, timeout: float) -> None:
        try:
            until(condition, what, timeout)
        except AssertionError as error:
            error.add_note(f"firing: {self.firing(instance)}")
            raise


def _rules() -> dict[str, Any]:
    """Return the shipped rules, which fire as soon as their expressions do."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))
    for rule in found["groups"][0]["rules"]:
        rule["for"] = "0s"
        if rule["alert"] == "PostgresWatchSilent":
            assert "> 900" in rule["expr"]
            rule["expr"] = rule["expr"].replace("> 900", f"> {SILENT}")
    return found


@contextmanager
def started(folder: Path, token: str) -> Iterator[Prometheus]:
    """Start a Prometheus that authorizes itself by this token; it scrapes nothing yet."""
    (folder / "token").write_text(token, encoding="utf-8")
    (folder / "alerts.yml").write_text(json.dumps(_rules()), encoding="utf-8")
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (scrape,) = config["scrape_configs"]
    scrape["authorization"]["credentials_file"] = str(folder / "token")
    del scrape["static_configs"]
    scrape["file_sd_configs"] = [{"files": [str(folder / "targets.json")]}]
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "log").open("wb") as log:
        options = {
            "config.file": folder / "prometheus.yml",
            "storage.tsdb.path": folder / "data",
            "web.listen-address": f"127.0.0.1:{port}",
        }
        words = (f"--{name}={value}" for name, value in options.items())
        process = subprocess.Popen(("prometheus", *words), stdout=log, stderr=log)
    try:
        found = Prometheus(folder, port)
        until(found.is_ready, "Prometheus is ready", 20)
        yield found
    finally:
        process.terminate()
        process.wait(20)


def promtool(folder: Path, tests: list[dict[str, Any]]) -> tuple[int, str]:
    """Return how Prometheus' own tool ends that tests the shipped rules, and its output."""
    text = {"rule_files": [str(FOLDER / "alerts.yml")], "evaluation_interval": "5m", "tests": tests}
    path = folder / "tests.yml"
    path.write_text(json.dumps(text), encoding="utf-8")
    command = ("promtool", "test", "rules", path)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr
