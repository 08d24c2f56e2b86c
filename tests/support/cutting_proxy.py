"""A proxy in front of a PACS that cuts answers off, stands still, or answers something else.

```python
with start_cutting_proxy("127.0.0.1", 8042) as proxy:
    proxy.cut_after = 5000            # bytes of each connection that answers more
    requests.get(proxy.url + "/dicom-web/studies")
```
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from scripts._load.gate import copy_to_end


@dataclass
class CuttingProxy:
    """A proxy that listens.

    Attributes:
        url: its address, without a slash at the end.
        cut_after: bytes after which a connection ends, all its answers together; None for never.
        cuts: how many connections were cut off.
        on_cut: called each time, before the connection ends.
    """

    url: str
    cut_after: int | None = None
    cuts: int = 0
    on_cut: Callable[[], None] = lambda: None
    _target: tuple[str, int] = ("", 0)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=self._pass_on, args=(connection,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(self._target, timeout=60) as server,
        ):
            threading.Thread(target=copy_to_end, args=(client, server), daemon=True).start()
            self._answer(server, client)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        sent = 0
        while data := server.recv(1 << 16):
            if self.cut_after is not None and sent + len(data) > self.cut_after:
                client.sendall(data[: max(self.cut_after - sent, 0)])
                with self._lock:
                    self.cuts += 1
                self.on_cut()
                break
            client.sendall(data)
            sent += len(data)
        # Closing alone would wait for the thread that reads from the same connection.
        client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def start_cutting_proxy(host: str, port: int) -> Iterator[CuttingProxy]:
    """Listen on a free port of the loopback and pass everything on.

    Args:
        host: of the server behind it.
        port: of the server behind it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = CuttingProxy(f"http://127.0.0.1:{listener.getsockname()[1]}", _target=(host, port))
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            listener.shutdown(socket.SHUT_RDWR)
