"""The report of a run while it runs, served to this machine only: `python -m results watch RUN`.

The page asks every few seconds whether the run directory has changed, and is loaded again when it has. Nothing is
written; the standard library serves it.
"""

import hashlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from results import report
from results.run import RunError
from results.run_directory import load_run, read_status

HOST = "127.0.0.1"
PORT = 8770
REFRESH_SECONDS = 5
_WATCHED = ("study.json", "epochs.jsonl", "best.json", "data.json", "final/metrics.json", "final/epochs.jsonl")


class ReportServer(ThreadingHTTPServer):
    """Serves the report of the run at `path`, and at /state what changes whenever the run does.

    Args:
        path: the run directory.
        port: 0 for any that is free; `server_port` is the one in use.

    Raises:
        OSError: the port is in use.
    """

    daemon_threads = True

    def __init__(self, path: Path, port: int = PORT) -> None:
        super().__init__((HOST, port), _Handler)
        self.path = path
        self._page: tuple[str, str] | None = None
        self._lock = Lock()  # a page takes a second to draw: two readers wait for one drawing

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}/"

    def state(self) -> str:
        """A digest of sizes and times of the files that the report is made from."""
        stats = [_stat(self.path / name) for name in _WATCHED]
        try:
            status = read_status(self.path)
        except RunError as error:
            status = str(error)
        return hashlib.sha256(repr((stats, status)).encode()).hexdigest()

    def page(self) -> str:
        """The report of the run as it is now.

        Raises:
            RunError: the run cannot be read.
        """
        with self._lock:
            state = self.state()
            if self._page is None or self._page[0] != state:
                self._page = state, report.render(load_run(self.path), refresh_seconds=REFRESH_SECONDS)
            return self._page[1]


def _stat(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        # A page elsewhere could have its name point at 127.0.0.1 and read the report through the reader's browser.
        host = self.headers.get("Host", "").rpartition(":")[0]
        if host not in (HOST, "localhost"):
            self._answer(403, "only 127.0.0.1 and localhost are served")
            return
        try:
            match self.path:
                case "/":
                    self._answer(200, self.server.page(), "text/html")
                case "/state":
                    self._answer(200, self.server.state())
                case _:
                    self._answer(404, "there is the report at / and nothing else")
        except RunError as error:
            self._answer(503, str(error))

    def _answer(self, code: int, text: str, kind: str = "text/plain") -> None:
        body = text.encode()
        try:
            self.send_response(code)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)
        except ConnectionError:  # the reader has gone
            return

    def log_message(self, format: str, *arguments: object) -> None:
        """Requests are no news for the terminal."""
