"""A local double of an object store, for `gs://`: whole objects put, got, listed and deleted, and nothing else.

Two doors lead to the same files: fsspec (as `etils.epath` uses gcsfs) and the JSON API over HTTP (as TensorStore's
driver `gcs` does). There is no rename, no append, no writing in place, no lock, no folder without an object in it; a
path is never a file of the system. What is put is visible at once.
"""

import contextlib
import http.server
import io
import json
import os
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import fsspec
from fsspec.spec import AbstractFileSystem


class Objects:
    """Bytes by name, one file each."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()

    def _file(self, name: str) -> Path:
        return self.root / urllib.parse.quote(name, safe="")

    def put(self, name: str, data: bytes) -> None:
        with self._lock:
            part = self.root / f".{threading.get_ident()}"
            part.write_bytes(data)
            os.replace(part, self._file(name))

    def get(self, name: str) -> bytes | None:
        with contextlib.suppress(FileNotFoundError):
            return self._file(name).read_bytes()
        return None

    def delete(self, name: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            self._file(name).unlink()
            return True
        return False

    def names(self, prefix: str = "") -> list[str]:
        found = (urllib.parse.unquote(path.name) for path in self.root.iterdir() if not path.name.startswith("."))
        return sorted(name for name in found if name.startswith(prefix))


class Put(io.BytesIO):
    """An object is there once it is closed, as a whole."""

    def __init__(self, objects: Objects, name: str):
        super().__init__()
        self._objects, self._name = objects, name

    def close(self) -> None:
        if self.closed:
            return
        data = self.getvalue()
        super().close()  # first: where sending fails, the destructor must not send again
        self._objects.put(self._name, data)


class Store(AbstractFileSystem):
    """The names are BUCKET/OBJECT."""

    protocol = ("gs", "gcs")
    objects: Objects

    def _open(self, path, mode="rb", **_):
        if mode == "wb":
            return Put(self.objects, path)
        if mode != "rb":
            raise NotImplementedError(f"an object store cannot open with mode {mode}")
        if (data := self.objects.get(path)) is None:
            raise FileNotFoundError(path)
        return io.BytesIO(data)

    def info(self, path, **_):
        path = self._strip_protocol(path)
        if (data := self.objects.get(path)) is not None:
            return {"name": path, "size": len(data), "type": "file", "mtime": 0.0, "created": 0.0}
        if self.objects.names(path.rstrip("/") + "/"):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path, detail=True, **_):
        prefix = self._strip_protocol(path).rstrip("/") + "/"
        names = {prefix + name.removeprefix(prefix).partition("/")[0] for name in self.objects.names(prefix)}
        if not names:
            raise FileNotFoundError(path)
        return [self.info(name) if detail else name for name in sorted(names)]

    def rm(self, path, recursive=False, **_):
        for one in [path] if isinstance(path, str) else path:
            name = self._strip_protocol(one)
            below = self.objects.names(name.rstrip("/") + "/") if recursive else []
            if not [self.objects.delete(found) for found in below] and not self.objects.delete(name):
                raise FileNotFoundError(one)

    def mkdir(self, path, create_parents=True, **_):
        """A folder is nothing but the beginning of names."""

    def makedirs(self, path, exist_ok=False):
        """The same."""

    def rmdir(self, path):
        """The same."""

    def mv(self, *_, **__):
        raise NotImplementedError("an object store has no rename")

    rename = move = mv_file = cp_file = mv


class Api(http.server.BaseHTTPRequestHandler):
    """As much of the JSON API as TensorStore uses: https://cloud.google.com/storage/docs/json_api/v1."""

    protocol_version = "HTTP/1.1"
    objects: Objects

    def _answer(self, code: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _asked(self) -> tuple[str, str, dict[str, str]]:
        """(bucket, object, parameters)."""
        url = urllib.parse.urlsplit(self.path)
        bucket, _, rest = url.path.partition("/b/")[2].partition("/o")
        return bucket, urllib.parse.unquote(rest.removeprefix("/")), dict(urllib.parse.parse_qsl(url.query))

    def _metadata(self, name: str, data: bytes) -> bytes:
        return json.dumps({"name": name, "size": str(len(data)), "generation": "1", "metageneration": "1"}).encode()

    def do_GET(self) -> None:  # noqa: N802
        bucket, name, parameters = self._asked()
        if not name:
            prefix = f"{bucket}/{parameters.get('prefix', '')}"
            names = [found.removeprefix(f"{bucket}/") for found in self.objects.names(prefix)]
            items = [{"name": found, "size": "1", "generation": "1"} for found in names]
            self._answer(200, json.dumps({"items": items}).encode())
            return
        data = self.objects.get(f"{bucket}/{name}")
        if data is None:
            self._answer(404)
        elif parameters.get("alt") != "media":
            self._answer(200, self._metadata(name, data))
        elif part := self.headers.get("Range"):
            first, _, last = part.removeprefix("bytes=").partition("-")
            start = int(first) if first else len(data) - int(last)
            stop = min(int(last) + 1, len(data)) if first and last else len(data)
            headers = {"Content_Range": f"bytes {start}-{stop - 1}/{len(data)}", "X_Goog_Generation": "1"}
            self._answer(206, data[start:stop], **headers)
        else:
            self._answer(200, data, X_Goog_Generation="1")

    def do_POST(self) -> None:  # noqa: N802
        bucket, _, parameters = self._asked()
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.objects.put(f"{bucket}/{parameters['name']}", data)
        self._answer(200, self._metadata(parameters["name"], data))

    def do_DELETE(self) -> None:  # noqa: N802
        bucket, name, _ = self._asked()
        self._answer(204 if self.objects.delete(f"{bucket}/{name}") else 404)

    def log_message(self, *_) -> None:
        """Nothing."""


@contextlib.contextmanager
def serving(root: Path, patch) -> Iterator[Objects]:
    """`gs://` of this process leads to the objects of a folder; `patch` is pytest's monkeypatch."""
    objects = Objects(root)
    patch.setattr(Store, "objects", objects, raising=False)
    patch.setattr(Api, "objects", objects, raising=False)
    for protocol in ("gs", "gcs"):
        fsspec.register_implementation(protocol, Store, clobber=True)
    server = http.server.ThreadingHTTPServer(("localhost", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    patch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://localhost:{server.server_port}")
    patch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    try:
        yield objects
    finally:
        server.shutdown()
        server.server_close()
