"""A small server that the real huggingface_hub client takes for the Hub: repositories are bare git repositories.

Commits, tags and blob ids are git's own. Large files are git-LFS pointers in the repository and objects beside it. With
Xet, the token route hands out a storage of the form ``local://FOLDER``, into which the real client chunks and uploads;
the server finds a file's Xet hash in the shards that the client wrote there. Faults are injected by :class:`Faults`.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

POINTER = re.compile(rb"^version https://git-lfs.github.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n$")
LARGE = (".safetensors", ".bin", ".ckpt", ".pt", ".pth")
ATTRIBUTES = b"".join(b"*%s filter=lfs diff=lfs merge=lfs -text\n" % suffix.encode() for suffix in LARGE)
FRONT_MATTER = re.compile(r"^\s*---[\r\n]+(.*?)[\r\n]+---", re.S)
GIT = {
    "PATH": os.environ["PATH"],
    "GIT_AUTHOR_NAME": "hub",
    "GIT_AUTHOR_EMAIL": "hub@localhost",
    "GIT_COMMITTER_NAME": "hub",
    "GIT_COMMITTER_EMAIL": "hub@localhost",
    "GIT_CONFIG_NOSYSTEM": "1",
    "HOME": "/nonexistent",
    "TZ": "UTC",
}


class HubError(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, message: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


def git(repository: Path, *arguments: str, feed: bytes | None = None, index: Path | None = None) -> bytes:
    """Run a git command and return its output."""
    environment = GIT if index is None else {**GIT, "GIT_INDEX_FILE": str(index)}
    command = ["git", "-C", str(repository), *arguments]
    return subprocess.run(command, input=feed, capture_output=True, env=environment, check=True).stdout


def try_git(repository: Path, *arguments: str) -> str | None:
    """Run a git command and return its output, None when it fails."""
    try:
        return git(repository, *arguments).decode().strip()
    except subprocess.CalledProcessError:
        return None


@dataclass
class Faults:
    """What goes wrong, and how often yet; each is taken back by :meth:`clear`."""

    status: dict[str, list[int]] = field(default_factory=dict)
    """Path pattern -> status codes to answer with, one a request, instead of an answer."""
    cut: list[int] = field(default_factory=list)
    """Bytes after which to drop the connection, one a large body."""
    body: Callable[[bytes], bytes] | None = None
    """Changes every large object that is sent."""
    hold: dict[str, threading.Event] = field(default_factory=dict)
    """Path pattern -> event that a request waits for, and is then refused."""
    stall: tuple[int, threading.Event] | None = None
    """Bytes of a large body after which to wait for the event, and then to drop the connection."""
    lost: dict[str, int] = field(default_factory=dict)
    """Path pattern -> how many requests are carried out, and then answered as if they had failed."""
    held: threading.Event = field(default_factory=threading.Event)
    """Set when a request waits."""
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Path pattern -> headers that every answer has, in the place of those of the same name."""
    trickle: float | None = None
    """Seconds before each byte of a body."""

    def clear(self) -> None:
        """Release every request that waits, and let nothing go wrong any more."""
        for event in [*self.hold.values(), *([self.stall[1]] if self.stall else [])]:
            event.set()
        vars(self).update(vars(Faults()))  # every field has its default again


class Hub:
    """Repositories, large objects, tokens ``{token: user}`` and faults."""

    def __init__(self, root: Path, tokens: dict[str, str], *, xet: bool) -> None:
        self.root = root
        self.tokens = tokens
        self.xet = xet
        for name in ("repositories", "lfs", "cas"):
            (root / name).mkdir(parents=True)
        self.private: dict[str, bool] = {}
        self.lock = threading.RLock()
        self.secret = os.urandom(16)
        self.faults = Faults()
        self.log: list[tuple[str, str]] = []
        self.storage = ""  # address of the second server, which sends large objects
        self._shards: dict[Path, dict[str, tuple[str, int]]] = {}

    # Repositories -----------------------------------------------------------------------------------------------------

    def path(self, name: str) -> Path:
        return self.root / "repositories" / f"{name}.git"

    def create(self, name: str, private: bool) -> None:
        with self.lock:
            if name in self.private:
                raise HubError(409, "You already created this model repo")
            self.path(name).mkdir(parents=True)
            git(self.path(name), "init", "--bare", "-q", "-b", "main")
            self.private[name] = private
            self.commit(name, "main", "initial commit", {".gitattributes": ATTRIBUTES}, [], None)

    def delete(self, name: str) -> None:
        with self.lock:
            shutil.rmtree(self.path(name))
            del self.private[name]

    def check(self, name: str, user: str | None, *, write: bool = False) -> None:
        """Raise where this user may not read, or write; a token writes only under its own user's name."""
        private = self.private.get(name)
        if private is None or (private and user is None):
            if user is None:
                raise HubError(401, "Invalid username or password.", "RepoNotFound")
            raise HubError(404, "Repository not found", "RepoNotFound")
        if write and user is None:
            raise HubError(401, "Invalid username or password.")
        # the Hub answers 404, and not 403, for a private repository, so as not to reveal that it exists
        if user is not None and user != name.split("/")[0]:
            if write:
                raise HubError(403, "Forbidden")
            if private:
                raise HubError(404, "Repository not found", "RepoNotFound")

    def revision(self, name: str, revision: str) -> str:
        found = try_git(self.path(name), "rev-parse", "-q", "--verify", "--end-of-options", f"{revision}^{{commit}}")
        if not found:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def tree(self, name: str, commit: str, folder: str = "", *, recursive: bool = False) -> list[dict[str, Any]]:
        options = ["-r", "-t"] if recursive else []
        inside = [f"{folder.rstrip('/')}/"] if folder else []
        entries = []
        for line in git(self.path(name), "ls-tree", "-z", "-l", *options, commit, *inside).split(b"\0")[:-1]:
            about, path = line.split(b"\t", 1)
            _, kind, oid, size = about.decode().split()
            entry: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path.decode()}
            if kind == "blob":
                entry |= {"type": "file", "size": int(size)}
                entry |= self._large(name, oid, int(size))
            entries.append(entry)
        return entries

    def _large(self, name: str, oid: str, size: int) -> dict[str, Any]:
        """Describe the large object that a pointer stands for."""
        pointer = POINTER.match(git(self.path(name), "cat-file", "blob", oid)) if size < 200 else None
        if pointer is None:
            return {}
        sha256 = pointer[1].decode()
        whole = int(pointer[2])
        found = {"size": whole, "lfs": {"oid": sha256, "size": whole, "pointerSize": size}}
        stored = self.shards().get(sha256) if self.xet else None
        return found | ({"xetHash": stored[0]} if stored else {})

    def file(self, name: str, commit: str, path: str) -> dict[str, Any] | None:
        folder = path.rpartition("/")[0]
        entries = self.tree(name, commit, folder)
        return next((e for e in entries if e["path"] == path and e["type"] == "file"), None)

    def head(self, name: str, branch: str = "main") -> str | None:
        return try_git(self.path(name), "rev-parse", "-q", "--verify", f"refs/heads/{branch}")

    def commit(
        self, name: str, branch: str, message: str, adds: dict[str, bytes], deletes: list[str], parent: str | None
    ) -> str:
        with self.lock:
            repository = self.path(name)
            head = self.head(name, branch)
            if head is None and branch != "main":
                raise HubError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
            if parent and not (head or "").startswith(parent):
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            index = self.root / f"index-{time.monotonic_ns()}"
            try:
                if head:
                    git(repository, "read-tree", head, index=index)
                lines = b"".join(stage_deletion(repository, index, path) for path in deletes)
                lines += b"".join(stage_file(repository, path, data) for path, data in adds.items())
                if lines:
                    git(repository, "update-index", "-z", "--index-info", feed=lines, index=index)
                tree = git(repository, "write-tree", index=index).decode().strip()
                parents = ["-p", head] if head else []
                made = git(repository, "commit-tree", tree, *parents, "-F", "-", feed=message.encode())
                git(repository, "update-ref", f"refs/heads/{branch}", made.decode().strip())
                return made.decode().strip()
            finally:
                index.unlink(missing_ok=True)

    def count(self, name: str) -> int:
        """Count the commits on the main branch."""
        return int(git(self.path(name), "rev-list", "--count", "main"))

    def read(self, name: str, path: str, revision: str = "main") -> bytes:
        """Read the content of a file as a client would see it."""
        entry = self.file(name, self.revision(name, revision), path)
        assert entry is not None, f"{name} has no {path}"
        if "lfs" in entry:
            return self.materialise(entry["lfs"]["oid"]).read_bytes()
        return git(self.path(name), "cat-file", "blob", entry["oid"])

    def write(self, name: str, files: dict[str, bytes]) -> str:
        """Commit from outside, with the same large files as an upload would have."""
        adds = {}
        for path, data in files.items():
            adds[path] = data
            if path.endswith(LARGE):
                sha256 = hashlib.sha256(data).hexdigest()
                (self.root / "lfs" / sha256).write_bytes(data)
                adds[path] = pointer(sha256, len(data))
        return self.commit(name, "main", "changed by hand", adds, [], None)

    # Large objects ----------------------------------------------------------------------------------------------------

    def have(self, sha256: str) -> bool:
        return (self.root / "lfs" / sha256).exists() or (self.xet and sha256 in self.shards())

    def shards(self) -> dict[str, tuple[str, int]]:
        """Map SHA-256 to (Xet hash, size) for all files that clients stored by Xet."""
        for path in (self.root / "cas/xet/xorbs/shards").glob("*.mdb"):
            if path not in self._shards:
                self._shards[path] = dict(read_shard(path.read_bytes()))
        return {sha256: found for shard in self._shards.values() for sha256, found in shard.items()}

    def materialise(self, sha256: str) -> Path:
        """Return a large object as a file: as uploaded over LFS, or rebuilt from the Xet storage."""
        path = self.root / "lfs" / sha256
        with self.lock:
            if not path.exists():
                import hf_xet

                xet_hash, size = self.shards()[sha256]
                aside = path.with_suffix(".partial")
                with hf_xet.XetSession().new_file_download_group(endpoint=f"local://{self.root}/cas") as group:
                    group.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(aside))
                aside.replace(path)
        return path

    def sign(self, text: str) -> str:
        return hmac.new(self.secret, text.encode(), "sha256").hexdigest()[:32]


def stage_deletion(repository: Path, index: Path, path: str) -> bytes:
    """Return the lines by which ``git update-index --index-info`` removes a file or a folder: mode 0, no object."""
    gone = git(repository, "ls-files", "-z", "--", path, index=index).split(b"\0")[:-1]
    if not gone:
        raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    return b"".join(b"0 " + b"0" * 40 + b"\t" + entry + b"\0" for entry in gone)


def stage_file(repository: Path, path: str, data: bytes) -> bytes:
    """Store a file, and return the line by which ``git update-index --index-info`` adds it."""
    oid = git(repository, "hash-object", "-w", "--stdin", feed=data).strip()
    return b"100644 " + oid + b"\t" + path.encode() + b"\0"


def pointer(sha256: str, size: int) -> bytes:
    """Return what git holds in the place of a large file."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def read_shard(data: bytes) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield (SHA-256, (Xet hash, size)) of each file in a Xet shard: records of 48 bytes behind a header of 48."""

    def words(raw: bytes) -> str:
        return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))

    at = 48
    while True:
        name = data[at : at + 32]
        flags, segments = struct.unpack("<II", data[at + 32 : at + 40])
        at += 48
        # a name of ones ends the list
        if name == b"\xff" * 32 or at >= len(data):
            return
        # each segment names its unpacked bytes at offset 36
        size = sum(struct.unpack("<I", data[at + 48 * i + 36 : at + 48 * i + 40])[0] for i in range(segments))
        # bit 31: a verification record follows each segment; bit 30: the SHA-256 follows all
        at += 48 * segments * (2 if flags & 1 << 31 else 1)
        if flags & 1 << 30:
            yield words(data[at : at + 32]), (words(name), size)
            at += 48


class Handler(BaseHTTPRequestHandler):
    """The routes that the client uses."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: object) -> None:
        pass

    def injected_headers(self) -> dict[str, str]:
        found = self.hub.faults.headers.items()
        return {name: value for pattern, more in found if re.search(pattern, self.path) for name, value in more.items()}

    def send_header(self, keyword: str, value: str) -> None:
        if keyword.lower() not in {name.lower() for name in self.injected_headers()}:
            super().send_header(keyword, value)

    def end_headers(self) -> None:
        for name, value in self.injected_headers().items():
            super().send_header(name, value)
        super().end_headers()

    def send_body(self, data: bytes) -> None:
        if self.hub.faults.trickle is None:
            self.wfile.write(data)
            return
        for byte in data:
            time.sleep(self.hub.faults.trickle or 0)
            self.wfile.write(bytes([byte]))

    def user(self) -> str | None:
        header = self.headers.get("Authorization", "")
        if not header:
            return None
        user = self.hub.tokens.get(header.removeprefix("Bearer "))
        if user is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return user

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        out = b""
        # RFC 9112, section 7.1: each chunk follows its length in hexadecimal digits
        while size := int(self.rfile.readline().split(b";")[0], 16):
            out += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return out

    def answer(self, status: int, content: Any = None, headers: dict[str, str] | None = None) -> None:
        for pattern, count in self.hub.faults.lost.items():
            if count and status < 300 and re.search(pattern, self.path):
                self.hub.faults.lost[pattern] -= 1
                status = 502
                content = {"error": "injected"}
        data = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.send_body(data)

    @property
    def base(self) -> str:
        return f"http://{self.headers['Host']}"

    def dispatch(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        self.data = self.body() if self.command in ("POST", "PUT", "DELETE") else b""
        self.hub.log.append((self.command, self.path))
        if self.inject_fault(address.path):
            return
        try:
            self.follow_route(address.path, address.query)
        except HubError as error:
            headers = {"X-Error-Message": error.message.replace("\n", " ")}
            if error.code:
                headers["X-Error-Code"] = error.code
            self.answer(error.status, {"error": error.message}, headers)

    def inject_fault(self, path: str) -> bool:
        """Answer with an error where a fault is set for this path; return whether one was."""
        for pattern, codes in self.hub.faults.status.items():
            if codes and re.search(pattern, path):
                self.answer(codes.pop(0), {"error": "injected"})
                return True
        for pattern, event in self.hub.faults.hold.items():
            if re.search(pattern, path):
                self.hub.faults.held.set()
                event.wait(60)
                self.answer(500, {"error": "held and refused"})
                return True
        return False

    def follow_route(self, path: str, query_text: str) -> None:
        query = {name: values[-1] for name, values in urllib.parse.parse_qs(query_text).items()}
        for method, pattern, route in ROUTES:
            found = re.fullmatch(pattern, path)
            # HEAD is answered as GET, without the body
            if found and (method == self.command or (method, self.command) == ("GET", "HEAD")):
                arguments = [group and urllib.parse.unquote(group) for group in found.groups()]
                route(self, query, *arguments)
                return
        raise HubError(404, f"no route {self.command} {path}")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = dispatch

    # Accounts and repositories ----------------------------------------------------------------------------------------

    def whoami(self, query: dict) -> None:
        user = self.user()
        if user is None:
            raise HubError(401, "Invalid username or password.")
        token = {"displayName": "test", "role": "write"}
        content = {
            "type": "user",
            "id": user,
            "name": user,
            "fullname": user,
            "email": None,
            "isPro": False,
            "orgs": [],
        }
        self.answer(200, content | {"auth": {"type": "access_token", "accessToken": token}})

    def create(self, query: dict) -> None:
        user = self.user()
        wanted = json.loads(self.data)
        if user is None:
            raise HubError(401, "Invalid username or password.")
        name = f"{wanted.get('organization') or user}/{wanted['name']}"
        if name.split("/")[0] != user:
            raise HubError(403, "You don't have the rights to create a model under this namespace")
        content = {"url": f"{self.base}/{name}", "name": name, "id": name}
        try:
            self.hub.create(name, wanted.get("visibility") == "private" or bool(wanted.get("private")))
        except HubError as error:
            return self.answer(error.status, {"error": error.message, **content})
        return self.answer(200, content)

    def delete(self, query: dict) -> None:
        wanted = json.loads(self.data)
        name = f"{wanted.get('organization') or self.user()}/{wanted['name']}"
        self.hub.check(name, self.user(), write=True)
        self.hub.delete(name)
        self.answer(200, {})

    def validate_yaml(self, query: dict) -> None:
        found = FRONT_MATTER.match(json.loads(self.data)["content"])
        errors: list[dict[str, str]] = []
        try:
            content = yaml.safe_load(found[1]) if found else {}
            if not isinstance(content, dict) or "license" not in content:
                errors.append({"message": '"license" is required'})
        except yaml.YAMLError as error:
            errors.append({"message": str(error)})
        self.answer(400 if errors else 200, {"errors": errors, "warnings": []})

    def info(self, query: dict, name: str, revision: str | None) -> None:
        self.hub.check(name, self.user())
        commit = self.hub.revision(name, revision or "main")
        files = [entry for entry in self.hub.tree(name, commit, recursive=True) if entry["type"] == "file"]
        card: dict[str, Any] = {}
        if any(entry["path"] == "README.md" for entry in files):
            found = FRONT_MATTER.match(self.hub.read(name, "README.md", commit).decode())
            card = (yaml.safe_load(found[1]) if found else None) or {}
        self.answer(
            200,
            {
                "_id": name,
                "id": name,
                "modelId": name,
                "author": name.split("/")[0],
                "sha": commit,
                "private": self.hub.private[name],
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": card.get("tags") or [],
                "library_name": card.get("library_name"),
                "cardData": card,
                "siblings": [{"rfilename": entry["path"]} for entry in files],
                "createdAt": "2026-01-01T00:00:00.000Z",
                "lastModified": "2026-01-01T00:00:00.000Z",
            },
        )

    def models(self, query: dict) -> None:
        user = self.user()
        author = query.get("author")
        names = [
            name
            for name, private in self.hub.private.items()
            if author in (None, name.split("/")[0]) and (not private or user == name.split("/")[0])
        ]
        about = {"private": False, "tags": [], "downloads": 0, "likes": 0}
        self.answer(200, [{"_id": name, "id": name, "modelId": name, **about} for name in names])

    def list_tree(self, query: dict, name: str, revision: str, folder: str | None) -> None:
        self.hub.check(name, self.user())
        recursive = query.get("recursive", "").lower() in ("1", "true")
        self.answer(200, self.hub.tree(name, self.hub.revision(name, revision), folder or "", recursive=recursive))

    def paths_info(self, query: dict, name: str, revision: str) -> None:
        self.hub.check(name, self.user())
        if self.data[:1] == b"{":
            paths = json.loads(self.data)["paths"]
        else:
            paths = urllib.parse.parse_qs(self.data.decode()).get("paths", [])
        entries = {e["path"]: e for e in self.hub.tree(name, self.hub.revision(name, revision), recursive=True)}
        self.answer(200, [entries[path] for path in paths if path in entries])

    def refs(self, query: dict, name: str) -> None:
        self.hub.check(name, self.user())
        out: dict[str, list] = {"branches": [], "tags": [], "converts": []}
        form = "--format=%(refname) %(objectname) %(*objectname)"
        for line in git(self.hub.path(name), "for-each-ref", form).decode().splitlines():
            ref, *objects = line.split()
            kind = "tags" if ref.startswith("refs/tags/") else "branches"
            out[kind].append({"name": ref.split("/", 2)[2], "ref": ref, "targetCommit": objects[-1]})
        self.answer(200, out)

    def tag(self, query: dict, name: str, revision: str) -> None:
        self.hub.check(name, self.user(), write=True)
        wanted = json.loads(self.data)
        commit = self.hub.revision(name, revision)
        if try_git(self.hub.path(name), "rev-parse", "-q", "--verify", f"refs/tags/{wanted['tag']}"):
            raise HubError(409, "Tag already exists")
        message = ["-a", "-m", wanted["message"]] if wanted.get("message") else []
        git(self.hub.path(name), "tag", *message, wanted["tag"], commit)
        self.answer(200, {})

    # Uploads ----------------------------------------------------------------------------------------------------------

    def preupload(self, query: dict, name: str, revision: str) -> None:
        self.hub.check(name, self.user(), write=True)
        commit = self.hub.revision(name, revision)
        out = []
        for file in json.loads(self.data)["files"]:
            entry = self.hub.file(name, commit, file["path"])
            binary = b"\0" in base64.b64decode(file.get("sample", ""))
            large = file["path"].endswith(LARGE) or file["size"] > (1_000_000 if binary else 10_000_000)
            oid = (entry.get("lfs", {}).get("oid") or entry["oid"]) if entry else None
            mode = "lfs" if large else "regular"
            out.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self.answer(200, {"files": out, "commitOid": commit})

    def xet_token(self, query: dict, name: str, kind: str, revision: str) -> None:
        self.hub.check(name, self.user(), write=kind == "write")
        if not self.hub.xet:
            raise HubError(404, "xet not enabled")
        storage = f"local://{self.hub.root}/cas"
        expires = int(time.time()) + 3600
        headers = {"X-Xet-Cas-Url": storage, "X-Xet-Token-Expiration": str(expires), "X-Xet-Access-Token": "x"}
        self.answer(200, {"casUrl": storage, "exp": expires, "accessToken": "x"}, headers)

    def lfs_batch(self, query: dict, name: str) -> None:
        self.hub.check(name, self.user(), write=True)
        out = []
        for wanted in json.loads(self.data)["objects"]:
            oid = wanted["oid"]
            about = {"oid": oid, "size": wanted["size"]}
            if not self.hub.have(oid):
                signature = self.hub.sign(oid)
                about["actions"] = {
                    "upload": {"href": f"{self.hub.storage}/_lfs/{oid}?sig={signature}"},
                    "verify": {"href": f"{self.base}/_lfs/{oid}/verify?sig={signature}"},
                }
            out.append(about)
        self.answer(200, {"transfer": "basic", "objects": out, "hash_algo": "sha256"})

    def lfs_put(self, query: dict, oid: str) -> None:
        if query.get("sig") != self.hub.sign(oid):
            raise HubError(403, "bad signature")
        if hashlib.sha256(self.data).hexdigest() != oid:
            raise HubError(400, "sha256 mismatch")
        (self.hub.root / "lfs" / oid).write_bytes(self.data)
        self.answer(200)

    def lfs_verify(self, query: dict, oid: str) -> None:
        path = self.hub.root / "lfs" / oid
        ok = path.exists() and path.stat().st_size == json.loads(self.data)["size"]
        self.answer(200 if ok else 404, {})

    def commit(self, query: dict, name: str, revision: str) -> None:
        self.hub.check(name, self.user(), write=True)
        adds: dict[str, bytes] = {}
        deletes = []
        header = {}
        for line in self.data.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            match operation["key"]:
                case "header":
                    header = value
                case "file":
                    adds[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    oid = value["oid"]
                    if not self.hub.have(oid):
                        raise HubError(400, f"LFS object {oid} has not been uploaded")
                    size = value.get("size") or self.hub.materialise(oid).stat().st_size
                    adds[value["path"]] = pointer(oid, size)
                case "deletedFile" | "deletedFolder":
                    deletes.append(value["path"].rstrip("/"))
                case other:
                    raise HubError(400, f"unknown key {other}")
        message = header["summary"] + ("\n\n" + header["description"] if header.get("description") else "")
        made = self.hub.commit(name, revision, message, adds, deletes, header.get("parentCommit"))
        url = f"{self.base}/{name}/commit/{made}"
        self.answer(200, {"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})

    # Downloads --------------------------------------------------------------------------------------------------------

    def resolve(self, query: dict, name: str, revision: str, path: str) -> None:
        self.hub.check(name, self.user())
        commit = self.hub.revision(name, revision)
        entry = self.hub.file(name, commit, path)
        if entry is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": commit}
            return self.answer(404, {"error": "Entry not found"}, headers)
        if "lfs" not in entry:
            data = git(self.hub.path(name), "cat-file", "blob", entry["oid"])
            return self.send(data, {"X-Repo-Commit": commit, "ETag": f'"{entry["oid"]}"'})
        oid = entry["lfs"]["oid"]
        headers = {
            "X-Repo-Commit": commit,
            "X-Linked-Etag": f'"{oid}"',
            "X-Linked-Size": str(entry["size"]),
            "Location": f"{self.hub.storage}/_lfs/{oid}?sig={self.hub.sign(oid)}",
        }
        if "xetHash" in entry:
            headers["X-Xet-Hash"] = entry["xetHash"]
            headers["Link"] = f'<{self.base}/api/models/{name}/xet-read-token/{commit}>; rel="xet-auth"'
        return self.answer(302, None, headers)

    def lfs_get(self, query: dict, oid: str) -> None:
        if query.get("sig") != self.hub.sign(oid):
            raise HubError(403, "bad signature")
        data = self.hub.materialise(oid).read_bytes()
        change = self.hub.faults.body
        self.send(data if change is None else change(data), {"ETag": f'"{oid}"'}, large=True)

    def send(self, data: bytes, headers: dict[str, str], *, large: bool = False) -> None:
        """Send a file, or the part of it that the request names by a range (RFC 9110, section 14)."""
        status = 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if wanted:
            total = len(data)
            first = int(wanted[1])
            last = min(int(wanted[2] or total - 1), total - 1)
            if first >= total:
                raise HubError(416, "range")
            status = 206
            headers["Content-Range"] = f"bytes {first}-{last}/{total}"
            data = data[first : last + 1]
        self.send_response(status)
        for name, value in {**headers, "Accept-Ranges": "bytes", "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        faults = self.hub.faults
        if large and faults.stall and len(data) > faults.stall[0]:
            end, event = faults.stall
            self.wfile.write(data[:end])
            self.wfile.flush()
            faults.held.set()
            event.wait(60)
            self.drop_connection()
        elif large and faults.cut and len(data) > faults.cut[0]:
            self.wfile.write(data[: faults.cut.pop(0)])
            self.wfile.flush()
            self.drop_connection()
        else:
            self.send_body(data)

    def drop_connection(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)


NAME = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("DELETE", r"/api/repos/delete", Handler.delete),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("POST", rf"/api/models/{NAME}/preupload/([^/]+)", Handler.preupload),
    ("GET", rf"/api/models/{NAME}/xet-(read|write)-token/([^/]+)", Handler.xet_token),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", r"/_lfs/([0-9a-f]{64})", Handler.lfs_put),
    ("GET", r"/_lfs/([0-9a-f]{64})", Handler.lfs_get),
    ("POST", r"/_lfs/([0-9a-f]{64})/verify", Handler.lfs_verify),
    ("POST", rf"/api/models/{NAME}/commit/([^/]+)", Handler.commit),
    ("GET", rf"/api/models/{NAME}(?:/revision/([^/]+))?", Handler.info),
    ("GET", r"/api/models", Handler.models),
    ("GET", rf"/api/models/{NAME}/tree/([^/]+)(?:/(.*))?", Handler.list_tree),
    ("POST", rf"/api/models/{NAME}/paths-info/([^/]+)", Handler.paths_info),
    ("GET", rf"/api/models/{NAME}/refs", Handler.refs),
    ("POST", rf"/api/models/{NAME}/tag/([^/]+)", Handler.tag),
    ("GET", rf"/{NAME}/resolve/([^/]+)/(.+)", Handler.resolve),
]


class QuietServer(ThreadingHTTPServer):
    """A server that says nothing of a client that was killed."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Server:
    """A running server and its hub; the large objects come from a second one, as from the Hub's storage."""

    def __init__(self, root: Path, tokens: dict[str, str], *, xet: bool = True) -> None:
        self.hub = Hub(root, tokens, xet=xet)
        handler = type("BoundHandler", (Handler,), {"hub": self.hub})
        self.servers = [QuietServer(("127.0.0.1", 0), handler) for _ in range(2)]
        for server in self.servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.address, self.hub.storage = (f"http://127.0.0.1:{s.server_address[1]}" for s in self.servers)

    def close(self) -> None:
        """Stop serving."""
        self.hub.faults.clear()
        for server in self.servers:
            server.shutdown()
            server.server_close()
