"""A way to a PACS that can be closed: connections end, and new ones are refused."""

from __future__ import annotations

import contextlib
import socket
import threading
from urllib.parse import urlsplit

CHUNK = 1 << 16


class Gate:
    """Listens on the loopback and hands on; open at first.

    Args:
        address: of the PACS, ``http://HOST:PORT/PATH``.

    Attributes:
        address: the same PACS through the gate.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._port = 0
        self.open()
        self.address = f"http://127.0.0.1:{self._port}{parts.path}"

    def open(self) -> None:
        """Let through."""
        with self._lock:
            if self._listener is None:
                self._listener = socket.create_server(("127.0.0.1", self._port))
                self._port = int(self._listener.getsockname()[1])
                threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """End all connections and refuse new ones."""
        with self._lock:
            closing = [*self._connections, *([self._listener] if self._listener else [])]
            self._listener, self._connections = None, set()
        for one in closing:
            # A thread that waits for it wakes up only by this.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._hand_on, args=(client,), daemon=True).start()

    def _hand_on(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            server = socket.create_connection(self._target, timeout=60)
            with self._lock:
                self._connections |= {client, server}
            with server:
                threading.Thread(target=copy_to_end, args=(client, server), daemon=True).start()
                copy_to_end(server, client)
            with self._lock:
                self._connections -= {client, server}


def copy_to_end(source: socket.socket, target: socket.socket) -> None:
    """Hand on what one side of a connection sends, and that it has ended."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
