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

__all__ = ["FOLDER", "SILENT", "Prometheus", "names", "promtool", "started"]

FOLDER = REPOSITORY / "examples" / "prometheus"
_PATIENCE = 90
"""Seconds until an alert fires or ends, on a machine that other tests use."""
SILENT = 20
"""Seconds for which a watch must be silent before that is an alert here; the rule for users says 900."""


class Prometheus:
    """A running Prometheus, which scrapes and evaluates every second."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self._url = f"http://127.0.0.1:{port}"
        self._targets: list[dict[str, Any]] = []
        self._fired: set[tuple[str, str]] = set()
        """The instances and alerts that have fired."""
        self._ended: set[tuple[str, str]] = set()
        """Those that no longer did afterwards."""

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
        """Return the alerts of an instance that fire now; other tests fill the machine's disk, with its archive."""
        found = self.query(f'ALERTS{{alertstate="firing",instance="{instance}",volume=~"|data"}}')
        return {each["metric"]["alertname"] for each in found}

    def fires(self, instance: str, *alerts: str, timeout: float = _PATIENCE) -> None:
        """Wait until each of these alerts fires."""
        self._wait(lambda: set(alerts) <= self.firing(instance), f"{alerts} fire", instance, timeout)
        self._fired |= {(instance, each) for each in alerts}

    def ends(self, instance: str, *alerts: str, timeout: float = _PATIENCE) -> None:
        """Wait until none of these alerts fires."""
        self._wait(lambda: not set(alerts) & self.firing(instance), f"{alerts} end", instance, timeout)
        self._ended |= self._fired & {(instance, each) for each in alerts}

    def saw(self, instance: str, alerts: set[str]) -> None:
        """Note that these alerts fired on an instance, and no others."""
        self._ended |= {each for each in self._fired if each[0] == instance and each[1] not in alerts}
        self._fired |= {(instance, each) for each in alerts}

    def seen(self) -> set[str]:
        """Return the alerts that were seen to fire and to end."""
        return {alert for _, alert in self._ended}

    def _wait(self, condition: Callable[[], bool], what: str, instance: str, timeout: float) -> None:
        try:
            until(condition, what, timeout)
        except AssertionError as error:
            error.add_note(f"firing: {self.firing(instance)}")
            raise


def names() -> set[str]:
    """Return the names of the shipped rules."""
    return {rule["alert"] for rule in _rules()["groups"][0]["rules"]}


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
    # A scrape may take as long as its interval: on a busy machine more than a second, and then all series would end.
    config["global"] = {"scrape_interval": "3s", "evaluation_interval": "1s"}
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
