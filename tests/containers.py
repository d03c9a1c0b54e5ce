"""
Containers of the image under test: start them, look into them, remove them.

A thin layer over the docker command line.
Everything created here has a label with the number of this test run, so that `clean_up` finds the leftovers of a
failing test.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "FRESH",
    "IMAGE",
    "LABEL",
    "LOOK_INSIDE",
    "PYTHON",
    "READY",
    "SERVERS",
    "SLIM",
    "Container",
    "File",
    "Files",
    "Outcome",
    "apt_options",
    "build",
    "clean_up",
    "complaints",
    "copied_volume",
    "create",
    "data_folder",
    "docker",
    "folder",
    "image_env",
    "image_exists",
    "in_volume",
    "inspect",
    "kin",
    "link",
    "run",
    "script",
    "serve",
    "start",
    "until",
    "volume",
]

IMAGE = os.environ.get("NIX_POSTGRES_IMAGE", "nix-postgres:dev")
SLIM = IMAGE.endswith("-slim")
"""Whether the image under test has no LLVM."""

#: The image's own Python, which is not on every PATH.
PYTHON = "/usr/local/lib/nix-postgres/python3"

LABEL = "nix-postgres-test"
RUN = uuid.uuid4().hex[:12]

#: The least that a first start needs; initdb need not wait for the disk.
FRESH: Mapping[str, str] = {"POSTGRES_PASSWORD": "secret", "POSTGRES_INITDB_ARGS": "--no-sync"}

#: Allows root inside the container to read the environment of any process in it.
LOOK_INSIDE = ("--cap-add", "SYS_PTRACE")

READY = "database system is ready to accept connections"

#: The kernel's name for the server: nixpkgs' package is a wrapper around another one.
SERVERS = ("postgres", ".postgres-wrapp")

_made: list[str] = []


class Outcome(NamedTuple):
    """How a command ended, and its output."""

    code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Both streams, for tests that match either."""
        return self.stdout + self.stderr


def complaints(outcome: Outcome) -> list[str]:
    """The problems that the entrypoint reports, each with the line with its hint."""
    assert "Traceback" not in outcome.output, outcome.output
    blocks = re.split(r"^entrypoint: error: ", outcome.stderr, flags=re.MULTILINE)[1:]
    assert blocks, outcome.output
    for block in blocks:
        assert re.search(r"^\s+hint: \S", block, re.MULTILINE), outcome.output
    return blocks


class File(NamedTuple):
    """A file, link or folder that is put into a container before it starts."""

    content: str | bytes = ""
    mode: int = 0o644
    owner: int = 0
    kind: bytes = tarfile.REGTYPE


#: Path to file; a plain text is a file that everybody may read.
Files = Mapping[str, File | str]


def script(content: str, mode: int = 0o755) -> File:
    """An executable file."""
    return File(content, mode)


def link(target: str) -> File:
    """A symbolic link."""
    return File(target, kind=tarfile.SYMTYPE)


def folder(mode: int = 0o755, owner: int = 0) -> File:
    """A folder with its own mode and owner."""
    return File(mode=mode, owner=owner, kind=tarfile.DIRTYPE)


def docker(
    *arguments: str, stdin: str | bytes | None = None, check: bool = True, timeout: float = 60
) -> Outcome:
    """Docker's output; a failure is an AssertionError that repeats docker's message."""
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(
        ("docker", *arguments), input=given or b"", capture_output=True, timeout=timeout, check=False
    )
    outcome = Outcome(
        done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )
    if check and outcome.code != 0:
        message = f"docker {' '.join(arguments)} ended with {outcome.code}\n{outcome.output}"
        raise AssertionError(message)
    return outcome


def until(condition: Callable[[], bool], what: str, timeout: float = 20) -> None:
    """Return as soon as the condition is true; fail if it is not true within the time."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            message = f"{what}: not within {timeout} s"
            raise AssertionError(message)
        time.sleep(0.05)


def _new_name() -> str:
    name = f"{LABEL}-{RUN}-{len(_made)}"
    _made.append(name)
    return name


def _archive(files: Files) -> bytes:
    """A tar file, which docker unpacks with its owners and modes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, value in files.items():
            file = value if isinstance(value, File) else File(value)
            content = file.content.encode() if isinstance(file.content, str) else file.content
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.mode, entry.uid, entry.gid = file.kind, file.mode, file.owner, file.owner
            if file.kind == tarfile.SYMTYPE:
                entry.linkname = content.decode()
            if file.kind == tarfile.REGTYPE:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


class Container:
    """One container, identified by its name."""

    def __init__(self, name: str) -> None:
        """Refer to the container with this name."""
        self.name = name
        self.begun = 0.0
        """When it was last started; docker's own StartedAt can be later than the first lines of the log."""

    # its life

    def begin(self) -> None:
        """Start it in the background."""
        self.begun = time.time()
        docker("start", self.name)

    def finish(self, timeout: float = 20, stdin: str | None = None) -> Outcome:
        """Start it in the foreground, and return how it ends."""
        attach = ("--attach",) if stdin is None else ("--attach", "--interactive")
        try:
            return docker("start", *attach, self.name, stdin=stdin, check=False, timeout=timeout)
        except subprocess.TimeoutExpired:
            message = f"the container was to end within {timeout} s, but runs\n{self.logs().output}"
            raise AssertionError(message) from None

    def kill(self, signal: str = "KILL") -> None:
        """Send a signal to PID 1."""
        docker("kill", "--signal", signal, self.name)

    def stop(self, signal: str | None = None, timeout: float = 20) -> int:
        """Stop it as its image does, or with the given signal; return its exit code."""
        if signal is None:
            docker("stop", "-t", str(int(timeout)), self.name, timeout=timeout + 5)
        else:
            self.kill(signal)
        return self.wait(timeout)

    def wait(self, timeout: float = 20) -> int:
        """The exit code, once it has ended."""
        try:
            return int(docker("wait", self.name, timeout=timeout).stdout)
        except subprocess.TimeoutExpired:
            message = f"the container was to end within {timeout} s, but runs\n{self.logs().output}"
            raise AssertionError(message) from None

    def again(self) -> None:
        """Start the stopped container again, and wait until it accepts connections."""
        self.begin()
        self.ready()

    def remove(self) -> None:
        """Remove it with its anonymous volumes."""
        docker("rm", "--force", "--volumes", self.name)

    @property
    def running(self) -> bool:
        """Whether it is running."""
        return bool(self.state["Running"])

    @property
    def state(self) -> dict[str, Any]:
        """Docker's knowledge about its state."""
        found: dict[str, Any] = inspect(self.name)["State"]
        return found

    @property
    def address(self) -> str:
        """Its address on docker's bridge."""
        return str(inspect(self.name)["NetworkSettings"]["IPAddress"])

    def changes(self) -> list[str]:
        """The changes in the container's own layer, without volumes: a letter and a path each."""
        return docker("diff", self.name).stdout.splitlines()

    def tree(self, path: str) -> dict[str, tuple[int, int, int]]:
        """The files below a path, including volumes: name to mode, owner and time of change."""
        raw = subprocess.run(
            ("docker", "cp", f"{self.name}:{path}", "-"), capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
            return {entry.name: (entry.mode, entry.uid, int(entry.mtime)) for entry in archive}

    # its log

    def logs(self) -> Outcome:
        """Its output so far, over all its starts."""
        return docker("logs", self.name)

    def follow(self, done: Callable[[str], bool], what: str, timeout: float = 30) -> None:
        """Read the lines of this start until one matches; both streams count."""
        command = ("docker", "logs", "--follow", "--since", f"{self.begun:.6f}", self.name)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as reader:
            alarm = threading.Timer(timeout, reader.kill)
            alarm.start()
            try:
                assert reader.stdout is not None
                if any(done(line) for line in reader.stdout):
                    return
            finally:
                alarm.cancel()
                reader.kill()
        limit = f"{timeout} s were over" if self.running else "the end of the log"
        message = f"{what}: not seen before {limit}\n{self.logs().output}"
        raise AssertionError(message)

    def says(self, text: str, timeout: float = 30) -> None:
        """Wait until a line of this start contains the text."""
        self.follow(lambda line: text in line, text, timeout)

    def ready(self, timeout: float = 30) -> None:
        """Wait for the real server, which unlike the temporary one listens on TCP."""
        listening = False

        def serving(line: str) -> bool:
            nonlocal listening
            listening = listening or "listening on IPv" in line
            return listening and READY in line

        self.follow(serving, READY, timeout)

    # its inside

    def exec(
        self,
        *command: str,
        user: str = "",
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        check: bool = True,
        timeout: float = 30,
    ) -> Outcome:
        """The result of a command inside the running container."""
        options = [*_pairs("--env", env), *(("--user", user) if user else ())]
        options += ["--interactive"] if stdin is not None else []
        return docker("exec", *options, self.name, *command, stdin=stdin, check=check, timeout=timeout)

    def shell(self, text: str, user: str = "") -> str:
        """The output of a piece of bash inside the running container."""
        return self.exec("bash", "-c", text, user=user).stdout.rstrip("\n")

    def sql(
        self,
        query: str,
        *,
        user: str = "postgres",
        database: str | None = None,
        host: str = "",
        password: str = "",
    ) -> str:
        """The answer to a query, with columns separated by `|`, through the socket unless a host is named."""
        own = {"PGHOST": host, "PGHOSTADDR": "", "PGPASSWORD": password}
        asked = self.exec(
            *(
                "psql",
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--no-password",
                "--set",
                "ON_ERROR_STOP=1",
            ),
            *("--username", user, "--dbname", database or user, "--command", query),
            env=own,
        )
        return asked.stdout.removesuffix("\n")

    @contextmanager
    def session(self, query: str, user: str = "postgres") -> Iterator[subprocess.Popen[bytes]]:
        """A client that is running the query, as the server sees it; it is ended at the end of the block."""
        mark = f"session {uuid.uuid4().hex}"
        asked = ("psql", "-X", "-w", "-U", user, "-d", "postgres", "-c", query)
        command = ("docker", "exec", "--env", f"PGAPPNAME={mark}", self.name, *asked)
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seen = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{mark}' AND state = 'active'"
        try:
            until(lambda: self.sql(seen, user=user, database="postgres") == "1", "the session is active")
            yield client
        finally:
            client.kill()
            client.wait()

    def postmaster(self) -> int:
        """The process id of the server."""
        return int(self.shell('head -n 1 "$PGDATA/postmaster.pid"'))

    def environ(self, pid: int) -> dict[str, str]:
        """The environment that the kernel keeps for a process; the container needs `LOOK_INSIDE`."""
        raw = self.exec("cat", f"/proc/{pid}/environ", user="0").stdout
        return dict(entry.split("=", 1) for entry in raw.split("\0") if "=" in entry)

    def process(self, pid: int) -> dict[str, str]:
        """The kernel's status lines of a process."""
        raw = self.exec("cat", f"/proc/{pid}/status").stdout
        return {name: value.strip() for name, _, value in (line.partition(":") for line in raw.splitlines())}

    def has_process(self, name: str) -> bool:
        """Whether a process with that name is running in it; programs that nixpkgs has wrapped have the wrapper's name for them."""
        seen = docker("top", self.name, "-eo", "pid,comm", check=False).stdout.splitlines()[1:]
        names = {line.split(None, 1)[1] for line in seen if " " in line.strip()}
        return not names.isdisjoint({name, f".{name}-wrapped"[:15]})


def _pairs(option: str, values: Mapping[str, str] | None) -> Iterator[str]:
    for name, value in (values or {}).items():
        yield option
        yield f"{name}={value}"


@contextmanager
def create(
    *command: str,
    env: Mapping[str, str] | None = None,
    files: Files | None = None,
    volumes: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    image: str = IMAGE,
) -> Iterator[Container]:
    """
    A container that has not started yet; it is removed at the end.

    Args:
        command: The arguments after the image's name.
        env: Its environment.
        files: Path to content that is unpacked into it, including volumes.
        volumes: Path to the name of a volume, `:ro` allowed.
        options: Further options of `docker create`.
        image: Its image.

    """
    name = _new_name()
    mounts = [word for path, source in (volumes or {}).items() for word in ("--volume", _mount(source, path))]
    labels = ("--label", f"{LABEL}={RUN}", "--name", name)
    docker(
        "create",
        "--pull",
        "never",
        "--pids-limit",
        "1000",
        *labels,
        *_pairs("--env", env),
        *mounts,
        *options,
        image,
        *command,
    )
    container = Container(name)
    try:
        if files:
            docker("cp", "-", f"{name}:/", stdin=_archive(files))
        yield container
    finally:
        container.remove()


def _mount(source: str, path: str) -> str:
    name, read_only = source.removesuffix(":ro"), source.endswith(":ro")
    return f"{name}:{path}:ro" if read_only else f"{name}:{path}"


def run(
    *command: str,
    env: Mapping[str, str] | None = None,
    files: Files | None = None,
    volumes: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    image: str = IMAGE,
    stdin: str | None = None,
    timeout: float = 20,
) -> Outcome:
    """How a container ended that ends by itself."""
    attach = () if stdin is None else ("--interactive",)
    with create(
        *command, env=env, files=files, volumes=volumes, options=(*attach, *options), image=image
    ) as container:
        return container.finish(timeout, stdin)


@contextmanager
def start(
    *command: str,
    env: Mapping[str, str] | None = None,
    files: Files | None = None,
    volumes: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    image: str = IMAGE,
) -> Iterator[Container]:
    """A container in the background that was just started."""
    with create(*command, env=env, files=files, volumes=volumes, options=options, image=image) as container:
        container.begin()
        yield container


@contextmanager
def serve(
    *command: str,
    env: Mapping[str, str] | None = None,
    files: Files | None = None,
    volumes: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    image: str = IMAGE,
) -> Iterator[Container]:
    """A container whose server accepts connections; without an environment, this is a first start."""
    given = FRESH if env is None else env
    with start(*command, env=given, files=files, volumes=volumes, options=options, image=image) as container:
        container.ready()
        yield container


@contextmanager
def volume(*options: str) -> Iterator[str]:
    """The name of an empty volume, which is removed at the end; options are those of docker's local driver."""
    name = _new_name()
    given = (word for option in options for word in ("--opt", option))
    docker("volume", "create", "--label", f"{LABEL}={RUN}", *given, name)
    try:
        yield name
    finally:
        docker("volume", "rm", "--force", name, check=False)


@contextmanager
def small_volume(size: str) -> Iterator[str]:
    """A volume of the server's user with a size such as `200m`, which a test can fill up."""
    disk = ("type=tmpfs", "device=tmpfs", f"o=size={size},uid=999,gid=999,mode=700")
    asleep = ("--entrypoint", "sleep")
    # A file system in memory disappears when nothing has it mounted.
    with volume(*disk) as name, start("infinity", volumes={"/disk": name}, options=asleep):
        yield name


@contextmanager
def copied_volume(source: str) -> Iterator[str]:
    """A volume with the content of another one."""
    with volume() as name:
        script_text = "cp --archive /from/. /to/"
        outcome = run(
            "-c",
            script_text,
            volumes={"/from": f"{source}:ro", "/to": name},
            options=("--entrypoint", "bash", "--user", "0"),
        )
        assert outcome.code == 0, outcome.output
        yield name


def compressed(data: bytes) -> bytes:
    """The output of the image's zstd for a few bytes."""
    text = 'printf %b "$1" | zstd -c | od -An -v -tx1'
    escaped = "".join(f"\\x{byte:02x}" for byte in data)
    return bytes.fromhex(run("-c", text, "-", escaped, options=("--entrypoint", "bash")).stdout)


def in_volume(name: str, text: str, image: str = IMAGE) -> str:
    """The output of a piece of bash as root in the volume; the image's entrypoint does not run."""
    outcome = run(
        "-c",
        f"cd /volume && {text}",
        volumes={"/volume": name},
        options=("--entrypoint", "bash", "--user", "0"),
        image=image,
    )
    assert outcome.code == 0, outcome.output
    return outcome.stdout.rstrip("\n")


@contextmanager
def build(dockerfile: str, files: Files | None = None, image: str = IMAGE) -> Iterator[str]:
    """An image made by `docker build` from the image under test, which the Dockerfile names `IMAGE`."""
    name = f"{_new_name()}:test"
    text = dockerfile.replace("IMAGE", image).replace("apt-get ", f"apt-get {apt_options()}")
    context = _archive({"Dockerfile": text, **(files or {})})
    docker("build", "--quiet", "--label", f"{LABEL}={RUN}", "--tag", name, "-", stdin=context, timeout=300)
    try:
        yield name
    finally:
        docker("rmi", "--force", name, timeout=300)


@functools.cache
def apt_options() -> str:
    """The configuration that apt in an image needs on this machine, whose mirror may be out of date; the image knows nothing of it."""
    program = Path(__file__).resolve().parents[1] / "image/apt-options"
    words = subprocess.run((program,), check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return "".join(f"{word} " for word in words)


def inspect(name: str) -> dict[str, Any]:
    """Docker's knowledge about an image or a container."""
    found: dict[str, Any] = json.loads(docker("inspect", name).stdout)[0]
    return found


@functools.cache
def image_env() -> Mapping[str, str]:
    """The environment that the image under test sets."""
    return dict(line.split("=", 1) for line in inspect(IMAGE)["Config"]["Env"])


def data_folder() -> str:
    """The data folder of the image under test: from PostgreSQL 18 on, it is a folder of the major version's own."""
    return image_env()["PGDATA"]


def kin(tag: str) -> str:
    """The image under test, or with a tag such as `18-sid` one of the images that `make images` makes next to it."""
    return f"{IMAGE.rpartition(':')[0]}:dev-{tag}" if tag else IMAGE


def image_exists(name: str) -> bool:
    """Whether docker has the image on this machine."""
    return docker("image", "inspect", name, check=False).code == 0


def clean_up() -> None:
    """Remove everything that this run has created and not removed."""
    if not _made:
        return
    mine = ("--filter", f"label={LABEL}={RUN}", "--quiet")
    for found, remove in (
        (("ps", "--all"), ("rm", "--force", "--volumes")),
        (("volume", "ls"), ("volume", "rm", "--force")),
        (("image", "ls"), ("rmi", "--force")),
    ):
        names = docker(*found, *mine).stdout.split()
        if names:
            docker(*remove, *names, check=False, timeout=300)
