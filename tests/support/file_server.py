"""A small HTTP server on the loopback that serves files from memory and fails as told to."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What is served and how; may be changed while the server runs.

    Attributes:
        url: base address without a slash at the end.
        files: content by name.
        ranges: whether requests for a part are honoured.
        refusals: status codes of the next answers, before any file is sent.
        breaks: after how many bytes of the body the next answers break off.
        requested: the Range header of each request so far, None where there was none.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    refusals: list[int] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    requested: list[str | None] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    served: FileServer

    def do_GET(self) -> None:
        served = self.served
        wanted = self.headers.get("Range")
        served.requested.append(wanted)
        content = served.files.get(self.path.lstrip("/"))
        if served.refusals:
            self.send_error(served.refusals.pop(0))
        elif content is None:
            self.send_error(404)
        else:
            self._send(content, wanted)

    def _send(self, content: bytes, wanted: str | None) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", wanted or "") if self.served.ranges else None
        start = int(match[1]) if match else 0
        if match and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if match else 200)
        if match:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.served.breaks.pop(0)] if self.served.breaks else body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def serve_files(**files: bytes) -> Iterator[FileServer]:
    """Serve ``files`` on a free port of the loopback until the context ends."""
    served = FileServer(files=dict(files))
    handler = type("Handler", (_Handler,), {"served": served})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
