"""Whom does the page answer?  A browser that has the page itself open; no other page, and no upload.

A page of another site can make the visitor's browser ask 127.0.0.1 too: by its own address, which the browser tells
(Origin), or by a name of its own that it lets point here (Host; "DNS rebinding"). So the page answers to the names that
it was opened under: this machine's own, or the public link's.
"""

import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

LOCAL = "127.0.0.1"
HERE = frozenset({LOCAL, "localhost", "::1"})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


@dataclass
class Names:
    """Under which names the page is open."""

    hosts: frozenset[str] = HERE
    by_address: bool = False  # under any IP address too: no other site can have one for its name
    link: str = ""  # the public link's host, if there is one; it is asked by https

    @classmethod
    def of(cls, host: str) -> "Names":
        """Those of a page that is served at `host`."""
        if host in HERE:
            return cls()
        return cls(HERE | {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}, by_address=True)

    def scheme(self, host: str) -> str:
        """How a host, with its port, is asked: http, https, or "" if it is not the page's."""
        if self.link and host == self.link:
            return "https"
        name = host_of(f"http://{host}")
        return "http" if name in self.hosts or (self.by_address and is_address(name)) else ""


class Guard:
    """An ASGI application around another, which refuses (403) what does not come from the page itself."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], names: Names):
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not (trouble := refusal(scope["path"], scope["headers"], self.names)):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = trouble.encode()
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def refusal(path: str, headers: list[tuple[bytes, bytes]], names: Names) -> str:
    """Why a request is refused, or ""."""
    hosts = [value.decode("latin-1").lower() for name, value in headers if name.lower() == b"host"]
    origins = [value.decode("latin-1").lower() for name, value in headers if name.lower() == b"origin"]
    scheme = names.scheme(hosts[0]) if len(hosts) == 1 else ""
    if not scheme:
        return "The playground answers to the names that it was opened under alone, such as 127.0.0.1."
    if any(origin != f"{scheme}://{hosts[0]}" for origin in origins):
        return "The playground answers its own page alone."
    if "upload" in path:
        return "The playground takes no files."
    return ""


def is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def host_of(address: str) -> str:
    """The name in an address, without user and port; "" if it is none."""
    try:
        found = urlsplit(address)
        return "" if "@" in found.netloc else found.hostname or ""
    except ValueError:
        return ""
