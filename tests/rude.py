"""
HTTP clients that no server wishes for.

They send rubbish, send slowly or nothing, do not read the answer, or come all at once.
"""

from __future__ import annotations

import http.client
import random
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["crowd", "misbehave", "occupied"]


def _random_request(rng: random.Random, path: str) -> bytes:
    if rng.randrange(6) == 0:
        return rng.randbytes(rng.randrange(1, 20000))
    method = rng.choice([b"GET", b"HEAD", b"POST", b"\0", b"TRACE"])
    line = method + b" " + rng.choice([path.encode(), b"/live", b"/ready?lag=", b"//../%00"])
    line += rng.choice([b"", b"?" + b"a=%ff&" * rng.randrange(300), b"#"])
    line += rng.choice([b" HTTP/1.1", b" HTTP/1.0", b""])
    headers = b"".join(
        b"H%d: %s\r\n" % (each, b"v" * rng.randrange(200)) for each in range(rng.randrange(100))
    )
    whole = line + rng.choice([b"\r\n", b"\n", b"\r"]) + headers + rng.choice([b"\r\n", b""])
    if rng.randrange(5) == 0:
        position = rng.randrange(len(whole))
        return whole[:position] + rng.randbytes(3) + whole[position:]
    return whole


def misbehave(host: str, port: int, seed: int, path: str) -> None:
    """Send something random in pieces, and end the connection in a random way."""
    rng = random.Random(seed)
    try:
        with socket.create_connection((host, port), timeout=30) as connection:
            connection.settimeout(0.1)
            data = _random_request(rng, path)
            step = rng.choice([1000, 50000])
            for start in range(0, len(data), step):
                connection.sendall(data[start : start + step])
            end = rng.randrange(4)
            if end == 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            elif end == 1:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            elif end == 2:
                connection.recv(10)
    except (ConnectionError, TimeoutError):
        pass  # as it should be


@contextmanager
def occupied(host: str, port: int, count: int, path: str) -> Iterator[None]:
    """Hold connections: silent ones, slow ones, and ones that ask for a large answer and do not read it."""
    begun = f"GET {path} HTTP/1.1\r\n".encode()
    with ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(socket.create_connection((host, port), timeout=30))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall((b"", begun + b"X:", begun + b"\r\n")[number % 3])
        yield


def crowd(host: str, port: int, count: int, path: str) -> list[int]:
    """Ask all at once, and return the codes of the answers."""
    codes: list[int] = []

    def ask() -> None:
        client = http.client.HTTPConnection(host, port, timeout=30)
        try:
            client.request("GET", path)
            answer = client.getresponse()
            answer.read()
            codes.append(answer.status)
        finally:
            client.close()

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return codes
