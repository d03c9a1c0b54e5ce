"""
A real S3 server with TLS, and a road to it that can be made slow, silent or impassable.

The server is versitygw (tests/go-tool.sh). Its objects are in a folder, so that a test can look at every stored
byte. It listens on a socket file; containers reach it through a relay in this process, on docker's bridge, with
the name `s3.test`.
"""

from __future__ import annotations

import asyncio
import fcntl
import functools
import hashlib
import math
import os
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import containers

__all__ = ["BUCKET", "KEY", "NAME", "S3", "SECRET", "Relay", "bridge", "serve"]

NAME = "s3.test"
"""A name, because pgBackRest of bookworm ignores addresses in a certificate."""
BUCKET = "bucket"
KEY = "AKIATESTKEY"
SECRET = "s3cr3t/Key+with=odd"
"""With characters that are easily lost in a file, a command line or a signature."""
CA_FILE = "/etc/s3-test.pem"
"""The path of the certificate in containers."""

_CHUNK = 256 * 1024
_SIOCGIFADDR = 0x8915
"""Linux's request for the address of an interface."""


class Relay:
    """
    Relays TCP connections to a socket file, under the current conditions of the road.

    Everything except `__init__` may be called from any thread, and has taken effect when the call returns.
    """

    def __init__(self, address: str, target: Path) -> None:
        """Take a port on the address; nothing passes before `restore`."""
        self._target = str(target)
        self._delay = 0.0
        self._rate = math.inf
        self._free = 0.0
        self._silent = False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        # A port that is bound but does not listen stays taken: meanwhile, the kernel refuses connections.
        self._claim = socket.socket()
        self._claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._claim.bind((address, 0))
        self.address, self.port = self._claim.getsockname()
        self.passed = 0
        """Bytes that went from the containers to the server."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()

    def restore(self) -> None:
        """Let everything pass."""
        self._do(self._listen(silent=False))

    def cut(self) -> None:
        """Refuse new connections, and break the existing ones."""
        self._do(self._close())

    def hang(self) -> None:
        """Accept connections and send nothing, on existing connections either."""
        self._do(self._listen(silent=True))

    def slow(self, seconds: float) -> None:
        """Add this time to each round trip, including that of connecting."""
        self._delay = seconds

    def narrow(self, rate: float) -> None:
        """Let this many bytes per second pass to the server, for all connections together."""
        self._rate = rate

    def close(self) -> None:
        """Cut the road, and release the port."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._claim.close()

    def _do(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self, *, silent: bool) -> None:
        # Connections that hang must not come to life again: real ones do not either.
        if self._silent and not silent:
            await self._close()
        self._silent = silent
        if self._server is None:
            self._server = await asyncio.start_server(
                self._accept, self.address, self.port, reuse_port=True, limit=_CHUNK
            )

    async def _close(self) -> None:
        if self._server is not None:
            # asyncio loses a connection that is just being accepted when a server is closed, so first there must be none.
            for listening in self._server.sockets:
                self._loop.remove_reader(listening.fileno())
            for _ in range(5):
                await asyncio.sleep(0)
            self._server.close()
            self._server = None
        for task in self._open:
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            # At once and with a reset: bytes on their way are lost.
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._delay)
        if self._silent:
            await asyncio.Event().wait()  # until the road is cut
        there, back = await asyncio.open_unix_connection(self._target, limit=_CHUNK)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._pass(reader, back, counted=True))
                tasks.create_task(self._pass(there, writer, counted=False))
        except* (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            back.transport.abort()

    async def _pass(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        """Pass one direction on, each piece half a round trip after it arrived."""
        clock = asyncio.get_running_loop().time
        # As much as a TCP window may contain, so that a delay costs time but hardly any throughput.
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def deliver() -> None:
            while True:
                due, piece = await under_way.get()
                if due > clock():
                    await asyncio.sleep(due - clock())
                if self._silent:
                    await asyncio.Event().wait()
                if not piece:
                    target.write_eof() if target.can_write_eof() else target.close()
                    return
                target.write(piece)
                await target.drain()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(deliver())
            piece = b"."
            while piece:
                piece = await source.read(_CHUNK)
                if counted:
                    self.passed += len(piece)
                    self._free = max(clock(), self._free) + len(piece) / self._rate
                    await asyncio.sleep(self._free - clock())
                await under_way.put((clock() + self._delay / 2, piece))


class S3:
    """The running server, as tests see it."""

    def __init__(self, top: Path, relay: Relay, size: str) -> None:
        """Refer to a server that has not started yet."""
        self._top = top
        self._size = size
        self._process: subprocess.Popen[bytes] | None = None
        self._secret = ""
        self.relay = relay

    @property
    def _data(self) -> Path:
        data = self._top / "data"
        return Path(f"/proc/{self._process.pid}/root{data}") if self._size and self._process else data

    @property
    def folder(self) -> Path:
        """The bucket; one file for each object."""
        return self._data / BUCKET

    @property
    def folders(self) -> tuple[Path, Path]:
        """Everything stored for the objects, including the server's own notes about them."""
        return self.folder, self._top / "meta" / BUCKET

    def rekey(self, secret: str) -> None:
        """Start the server, and restart it if it runs with another secret key; the road stays unchanged."""
        if secret == self._secret:
            return
        self.stop()
        top, self._secret = self._top, secret
        command: tuple[str, ...] = (
            *(_program(), "--port", str(top / "listening")),
            *("--cert", str(top / "cert.pem"), "--key", str(top / "key.pem")),
            *("--region", "us-east-1", "--keep-alive", "--quiet"),
            *("posix", "--sidecar", str(top / "meta"), str(top / "data")),
        )
        if self._size:
            # In its own mount namespace, which anybody may create.
            small = 'mount -t tmpfs -o "size=$0" small "$1" && mkdir "$1/$2" && shift 2 && exec "$@"'
            space = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", small)
            command = (*space, self._size, str(top / "data"), BUCKET, *command)
        keys = {"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": secret}
        with (top / "log").open("ab") as log:
            process = self._process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], **keys},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        def answers() -> bool:
            assert process.poll() is None, (top / "log").read_text(errors="replace")
            return _connects(top / "listening")

        containers.until(answers, "versitygw")

    @contextmanager
    def full(self) -> Iterator[None]:
        """Leave no space to a server of limited size."""
        assert self._size
        left, filler = os.statvfs(self._data), self._data / "full"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize)
        yield
        filler.unlink()

    def stop(self) -> None:
        """Stop the server if it is running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            (self._top / "listening").unlink(missing_ok=True)

    @property
    def endpoint(self) -> str:
        """The address for containers."""
        return f"https://{NAME}:{self.relay.port}"

    @property
    def files(self) -> containers.Files:
        """The files that a container needs."""
        return {CA_FILE: (self._top / "cert.pem").read_text(encoding="ascii")}

    @property
    def options(self) -> tuple[str, ...]:
        """The options that `docker create` needs."""
        return ("--add-host", f"{NAME}:{self.relay.address}")

    def env(self, prefix: str, **more: str) -> dict[str, str]:
        """Return the environment of a container whose archive is below this prefix."""
        return {
            "ARCHIVE_URL": f"s3://{BUCKET}/{prefix}",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": self.endpoint,
            "AWS_S3_FORCE_PATH_STYLE": "true",
            "AWS_CA_BUNDLE": CA_FILE,
            **more,
        }

    def digest(self, prefix: str) -> dict[str, str]:
        """Return every object below a prefix with the digest of its bytes."""
        top = self.folder / prefix
        return {
            str(path.relative_to(top)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(top.rglob("*"))
            if path.is_file()
        }


def _make_certificate(folder: Path) -> None:
    """Make a key, and a certificate that is its own authority."""
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-noenc", "-days", "7", "-subj", "/CN=nix-postgres-docker test"),
            *("-addext", f"subjectAltName=DNS:{NAME},DNS:*.{NAME}"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ),
        check=True,
        capture_output=True,
    )


@functools.cache
def _program() -> str:
    """Return the path of versitygw, which is built first if this machine does not have it."""
    script = Path(__file__).with_name("go-tool.sh")
    return subprocess.run((script, "versitygw"), check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@functools.cache
def bridge() -> str:
    """
    Return this machine's address on docker's bridge, which containers can reach.

    It is the interface's address: docker 20.10 knows the gateway of its bridge only after its second start on a machine.
    """
    name = containers.inspect("bridge")["Options"].get("com.docker.network.bridge.name", "docker0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        answer = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", name.encode()))
    return socket.inet_ntoa(answer[20:24])


@contextmanager
def serve(size: str = "") -> Iterator[S3]:
    """An S3 server with one empty bucket of this size and an open road to it; everything is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="nix-postgres-s3-") as name:
        top = Path(name)
        for each in ("data", f"data/{BUCKET}", "meta"):
            (top / each).mkdir()
        _make_certificate(top)
        server = S3(top, Relay(bridge(), top / "listening"), size)
        try:
            server.rekey(SECRET)
            server.relay.restore()
            yield server
        finally:
            server.relay.close()
            server.stop()


def _connects(path: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        return True
    return False
