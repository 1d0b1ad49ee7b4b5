"""A stand-in for the Hub on this machine: the HTTP calls that make a repository, commit files and read them back."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Hub:
    """State of the server.

    `repositories` maps ids to file names to contents. `commits` lists (repository, message, file names), `requests`
    lists (method, path, authorization). A request whose path matches the pattern `refuses` is answered with an error.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[tuple[str, str, list[str]]] = []
        self.requests: list[tuple[str, str, str | None]] = []
        self.refuses: str | None = None
        self.url = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer to a request."""
        if self.refuses is not None and re.search(self.refuses, path):
            return 403, {}, b'{"error": "no room"}'
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'someone'}/{asked['name']}"
            self.repositories.setdefault(repo, {})
            self.private[repo] = bool(asked.get("private")) or asked.get("visibility") == "private"
            return _json({"url": f"{self.url}/{repo}"})
        if path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/\w+", path):
            files = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in
                     json.loads(body)["files"]]  # fmt: skip
            return _json({"files": files})
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/\w+", path):
            header, *files = [json.loads(line) for line in body.splitlines()]
            contents = {each["value"]["path"]: base64.b64decode(each["value"]["content"]) for each in files}
            self.repositories[found[1]] |= contents
            self.commits.append((found[1], header["value"]["summary"], sorted(contents)))
            return _json({"commitUrl": f"{self.url}/{found[1]}/commit/{self.commit}", "commitOid": self.commit})
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", path):
            content = self.repositories.get(found[1], {}).get(unquote(found[2]))
            if content is None:
                return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.commit}, b""
            return 200, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": self.commit}, content
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/\w+(/.*)?", path):
            folder = (found[2] or "").strip("/")
            files = self.repositories.get(found[1], {})
            rows = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
                if not folder or name.startswith(f"{folder}/")
            ]
            return _json(rows) if rows else (404, {"X-Error-Code": "EntryNotFound"}, b"")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/\w+)?", path):
            files = self.repositories.get(found[1])
            if files is None:
                return 404, {"X-Error-Code": "RepoNotFound"}, b""
            return _json({"id": found[1], "sha": self.commit, "siblings": [{"rfilename": name} for name in files]})
        return 404, {}, f"the stand-in has no {method} {path}".encode()

    @property
    def commit(self) -> str:
        """Id of the last commit, of 40 hexadecimal digits as the client expects."""
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


def _json(content: object) -> tuple[int, dict[str, str], bytes]:
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Runs a hub at `hub.url` for the block."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = urlsplit(self.path).path
            hub.requests.append((self.command, path, self.headers.get("Authorization")))
            status, headers, content = hub.answer(self.command, path, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = answer

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
