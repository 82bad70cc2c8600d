"""A small Hub on loopback: what the official clients say to the real one, answered from memory.

    with HubServer() as hub: ...        # HF_ENDPOINT=hub.url, HF_TOKEN=hf_alice, HF_HUB_DISABLE_XET=1

Repositories with branches, tags, commits, files and LFS files, public and private; tokens that may write, that may
only read, and none. `hub.break_off_uploads` closes that many uploads in their middle; `hub.refuse_commits` answers
that many commits with 503. No Xet, no quotas, no multipart uploads.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

TOKENS = {"hf_alice": ("alice", "write"), "hf_reader": ("alice", "read"), "hf_bob": ("bob", "write")}
API = re.compile(r"^/api/(model|dataset)s/([^/]+/[^/]+)(?:/(.*))?$")
GIT = re.compile(r"^/(?:(dataset)s/)?([^/]+/[^/]+?)(?:\.git/(info/lfs/objects/batch)|/(resolve/.*))$")
LARGE = re.compile(r"\.(safetensors|bin|parquet|arrow)$")


@dataclass
class Repo:
    owner: str
    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # oid → path → file
    messages: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, tree: dict[str, dict[str, Any]], message: str) -> str:
        oid = hashlib.sha1(f"{self.branches.get(branch)}{len(self.commits)}{message}".encode()).hexdigest()
        self.commits[oid], self.messages[oid], self.branches[branch] = tree, message, oid
        return oid

    def at(self, revision: str) -> str | None:
        return (
            self.branches.get(revision) or self.tags.get(revision) or (revision if revision in self.commits else None)
        )


class HubServer:
    """The server, its repositories by (kind, name), and every request that it was asked."""

    def __init__(self) -> None:
        self.repos: dict[tuple[str, str], Repo] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.break_off_uploads = self.refuse_commits = 0
        self.slow_uploads = 0.0  # seconds that an upload takes
        handler = type("BoundHandler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def files(self, name: str, revision: str = "main", kind: str = "model") -> dict[str, bytes]:
        repo = self.repos[kind, name]
        oid = repo.at(revision)
        assert oid is not None, f"{name} has no {revision}"
        return {path: file["data"] for path, file in repo.commits[oid].items()}


class Handler(BaseHTTPRequestHandler):
    hub: ClassVar[HubServer]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, content: Any = None, body: bytes | None = None, **headers: str) -> None:
        data = json.dumps({} if content is None else content).encode() if body is None else body
        self.hub.requests.append((self.command, self.path, status))
        self.send_response(status)
        sent = {"Content-Type": "application/json", "Content-Length": str(len(data))} | headers
        for name, value in sent.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str, message: str = "") -> None:
        self.answer(status, {"error": message or code}, X_Error_Code=code, X_Error_Message=message or code)

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def handle_request(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.query = parse_qs(address.query)
        if path.startswith("/lfs/") and self.hub.break_off_uploads:
            self.hub.break_off_uploads -= 1
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            self.close_connection = True
            self.connection.close()
            return
        self.body = self.read_body()
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        self.user, self.role = TOKENS.get(token, ("", ""))
        if path.startswith("/lfs/"):
            return self.upload(path.removeprefix("/lfs/"))
        if path == "/api/whoami-v2":
            if not self.user:
                return self.refuse(401, "Unauthorized", "Invalid username or password.")
            return self.answer(200, {"type": "user", "name": self.user, "orgs": [], "auth": {"type": "access_token"}})
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self.create()
        found = API.match(path) or GIT.match(path)
        if not found:
            return self.refuse(404, "NoRoute", path)
        kind, name = found[1] or "model", found[2]
        rest = (found[3] or (found[4] if found.re is GIT else "")) or ""
        repo = self.hub.repos.get((kind, name))
        if repo is None or (repo.private and self.user != repo.owner):
            return self.refuse(404 if self.user else 401, "RepoNotFound", "Repository not found")
        writes = self.command in ("POST", "PUT", "DELETE") and not rest.startswith("paths-info")
        if (writes or rest == "auth-check/write") and (self.user != repo.owner or self.role != "write"):
            return self.refuse(403 if self.user else 401, "Forbidden", "this token has no write access")
        return self.in_repo(repo, kind, name, rest)

    def upload(self, oid: str) -> None:
        threading.Event().wait(self.hub.slow_uploads)
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.refuse(400, "BadOid")
        self.hub.large[oid] = self.body
        return self.answer(200)

    def create(self) -> None:
        asked = json.loads(self.body)
        owner = asked.get("organization") or self.user
        if not self.user:
            return self.refuse(401, "Unauthorized", "Invalid username or password.")
        if owner != self.user or self.role != "write":
            return self.refuse(403, "Forbidden", "this token may not create repositories here")
        kind, name = asked.get("type") or "model", f"{owner}/{asked['name']}"
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{name}"
        if (kind, name) in self.hub.repos:
            return self.answer(409, {"error": "You already created this repo", "url": url})
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repo = self.hub.repos[kind, name] = Repo(owner, private)
        repo.commit("main", {}, "initial commit")
        return self.answer(200, {"url": url, "name": name, "id": name})

    def in_repo(self, repo: Repo, kind: str, name: str, rest: str) -> None:
        if rest.endswith("objects/batch"):
            return self.offer_uploads()
        verb, _, tail = rest.partition("/")
        if verb == "auth-check":
            return self.answer(200)
        if verb in ("branch", "tag"):
            return self.change_ref(repo, repo.branches if verb == "branch" else repo.tags, verb, tail)
        if verb == "refs":
            return self.answer(200, {
                "branches": [ref("heads", *pair) for pair in repo.branches.items()],
                "tags": [ref("tags", *pair) for pair in repo.tags.items()], "converts": [],
            })  # fmt: skip
        if verb == "preupload":
            return self.preupload(repo.commits[repo.at(tail) or ""])
        if verb == "commit":
            return self.commit(repo, kind, name, tail)
        if verb == "revision":
            revision, inside = tail, ""
        else:
            revision, _, inside = (tail or "main").partition("/")
        commit = repo.at(revision)
        if commit is None:
            return self.refuse(404, "RevisionNotFound", "Invalid rev id")
        tree = repo.commits[commit]
        if verb == "resolve":
            return self.resolve(commit, tree, inside)
        if verb == "tree":
            return self.list_tree(tree, inside)
        if verb == "paths-info":
            return self.paths_info(tree)
        if verb in ("", "revision"):
            return self.answer(200, {
                "_id": "0", "id": name, "modelId": name, "author": repo.owner, "sha": commit, "private": repo.private,
                "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                "createdAt": "2026-01-01T00:00:00.000Z", "lastModified": "2026-01-01T00:00:00.000Z",
                "siblings": [{"rfilename": path} for path in sorted(tree)],
            })  # fmt: skip
        return self.refuse(404, "NoRoute", rest)

    def offer_uploads(self) -> None:
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            offer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.large:
                offer["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}"}}
            objects.append(offer)
        answer = {"transfer": "basic", "objects": objects}
        return self.answer(200, answer, Content_Type="application/vnd.git-lfs+json")

    def change_ref(self, repo: Repo, refs: dict[str, str], verb: str, tail: str) -> None:
        if self.command == "DELETE":
            if tail not in refs:
                return self.refuse(404, "RevisionNotFound", f"no {verb} {tail}")
            del refs[tail]
            return self.answer(200)
        asked = json.loads(self.body or b"{}")
        name = tail if verb == "branch" else asked["tag"]
        commit = repo.at((asked.get("startingPoint") or "main") if verb == "branch" else tail)
        if name in refs:
            return self.refuse(409, "RefExists", "Reference already exists")
        if commit is None:
            return self.refuse(404, "RevisionNotFound")
        refs[name] = commit
        return self.answer(200)

    def preupload(self, tree: dict[str, dict[str, Any]]) -> None:
        def mode(file: dict[str, Any]) -> str:
            return "lfs" if file["size"] > 1 << 20 or LARGE.search(file["path"]) else "regular"

        files = json.loads(self.body)["files"]
        return self.answer(200, {"files": [
            {"path": file["path"], "uploadMode": mode(file), "shouldIgnore": False,
             "oid": tree.get(file["path"], {}).get("oid")} for file in files
        ]})  # fmt: skip

    def commit(self, repo: Repo, kind: str, name: str, branch: str) -> None:
        if branch not in repo.branches:
            return self.refuse(404, "RevisionNotFound")
        if self.hub.refuse_commits:
            self.hub.refuse_commits -= 1
            return self.refuse(503, "Unavailable", "the Hub is down for maintenance")
        tree, message = dict(repo.commits[repo.branches[branch]]), ""
        for line in filter(None, self.body.splitlines()):
            operation = json.loads(line)
            kind_of, value = operation["key"], operation["value"]
            if kind_of == "header":
                message = value["summary"]
            elif kind_of == "file":
                data = base64.b64decode(value["content"])
                tree[value["path"]] = {"data": data, "oid": blob(data), "size": len(data)}
            elif kind_of == "lfsFile":
                if value["oid"] not in self.hub.large:
                    return self.refuse(400, "LfsMissing", value["path"])
                data = self.hub.large[value["oid"]]
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{value['oid']}\nsize {len(data)}\n"
                large = {"oid": value["oid"], "size": len(data), "pointerSize": len(pointer)}
                tree[value["path"]] = {"data": data, "oid": blob(pointer.encode()), "size": len(data), "lfs": large}
            elif kind_of == "deletedFile":
                tree.pop(value["path"], None)
        oid = repo.commit(branch, tree, message)
        url = f"{self.hub.url}/{'' if kind == 'model' else kind + 's/'}{name}/commit/{oid}"
        return self.answer(200, {"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def resolve(self, commit: str, tree: dict[str, dict[str, Any]], path: str) -> None:
        if path not in tree:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        file = tree[path]
        data, etag = file["data"], file.get("lfs", file)["oid"]
        headers = {"X_Repo_Commit": commit, "ETag": f'"{etag}"', "Accept_Ranges": "bytes"}
        headers["Content_Type"] = "application/octet-stream"
        if "lfs" in file:
            headers |= {"X_Linked_Etag": f'"{etag}"', "X_Linked_Size": str(file["size"])}
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not part:
            return self.answer(200, body=data, **headers)
        first, last = int(part[1]), int(part[2]) if part[2] else len(data) - 1
        return self.answer(
            206, body=data[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}", **headers
        )

    def list_tree(self, tree: dict[str, dict[str, Any]], inside: str) -> None:
        prefix = inside + "/" if inside else ""
        deep = self.query.get("recursive", ["false"])[0].lower() == "true"
        folders, files = set(), []
        for path in sorted(path for path in tree if path.startswith(prefix)):
            steps = path.removeprefix(prefix).split("/")
            folders |= {prefix + "/".join(steps[:depth]) for depth in range(1, len(steps)) if deep or depth == 1}
            if deep or len(steps) == 1:
                files.append(entry(path, tree[path]))
        if prefix and not files and not folders:
            return self.refuse(404, "EntryNotFound")
        return self.answer(200, [folder(path) for path in sorted(folders)] + files)

    def paths_info(self, tree: dict[str, dict[str, Any]]) -> None:
        if self.headers.get("Content-Type", "").startswith("application/json"):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode()).get("paths", [])
        found = [entry(path, tree[path]) for path in paths if path in tree]
        found += [
            folder(path) for path in paths
            if path not in tree and any(other.startswith(path.rstrip("/") + "/") for other in tree)
        ]  # fmt: skip
        return self.answer(200, found)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_request


def ref(kind: str, name: str, commit: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}


def blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(path: str, file: dict[str, Any]) -> dict[str, Any]:
    large = {"lfs": file["lfs"]} if "lfs" in file else {}
    return {"type": "file", "path": path, "oid": file["oid"], "size": file["size"], **large}


def folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": hashlib.sha1(path.encode()).hexdigest(), "size": 0}
