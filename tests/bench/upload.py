"""Uploading 256 MiB over loopback TCP, beside a plain socket that hashes and writes the same bytes.

Both ends share this machine's cores in both cases. The pairs alternate, so that drift hits both.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import grpc

from bench.common import running_agent
from edgeopt_host.client import Agent
from edgeopt_host.modelfile import Digest

_PIECE = 256 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    size = arguments.mib * 2**20
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "model"
        ratios = []
        for pair in range(arguments.pairs):
            source.write_bytes(os.urandom(size))
            digest = Digest.of(source)
            with (
                running_agent(
                    Path(folder) / f"state{pair}", "--listen=127.0.0.1:0", "--insecure"
                ) as agent,
                grpc.insecure_channel(agent.address) as channel,
            ):
                client = Agent("bench", channel)
                orders = [
                    ("edgeopt", partial(_edgeopt, client, source, digest)),
                    ("socket", partial(_socket, source, Path(folder) / "copy")),
                ]
                seconds = {name: run() for name, run in (orders if pair % 2 else orders[::-1])}
                again = client.upload(source, digest)
            rates = {name: size / 2**20 / took for name, took in seconds.items()}
            ratios.append(rates["edgeopt"] / rates["socket"])
            print(
                f"edgeopt {rates['edgeopt']:6.0f} MiB/s   socket {rates['socket']:6.0f} MiB/s   "
                f"ratio {ratios[-1]:.2f}   second push sent {again} bytes",
                flush=True,
            )
    print(f"median ratio {statistics.median(ratios):.2f}")
    sys.exit(statistics.median(ratios) < 0.3)


def _edgeopt(client: Agent, source: Path, digest: Digest) -> float:
    started = time.perf_counter()
    sent = client.upload(source, digest)
    took = time.perf_counter() - started
    assert sent == digest.size_bytes
    return took


def _socket(source: Path, copy: Path) -> float:
    """One thread sends the file, this one hashes and writes what arrives."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.perf_counter()
        sender = threading.Thread(target=_send, args=(source, server.getsockname()))
        sender.start()
        connection, _ = server.accept()
        hasher = hashlib.sha256()
        buffer = bytearray(_PIECE)
        with connection, copy.open("wb", buffering=0) as file:
            while count := connection.recv_into(buffer):
                hasher.update(memoryview(buffer)[:count])
                file.write(memoryview(buffer)[:count])
            os.fsync(file.fileno())
        sender.join()
    assert copy.stat().st_size == source.stat().st_size
    return time.perf_counter() - started


def _send(source: Path, address: tuple[str, int]) -> None:
    with socket.create_connection(address) as connection, source.open("rb") as file:
        connection.sendfile(file)


if __name__ == "__main__":
    main()
