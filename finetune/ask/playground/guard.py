"""Whom does the page answer?  A browser on this machine that has the page open; no other page, and no upload.

A page of another site can make the visitor's browser ask 127.0.0.1 too: by its own address, which the browser tells
(Origin), or by a name of its own that it lets point here (Host; "DNS rebinding").
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

HERE = ("127.0.0.1", "localhost", "::1")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class Guard:
    """An ASGI application around another, which refuses (403) what does not come from the page itself."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or not (trouble := refusal(scope["path"], scope["headers"])):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = trouble.encode()
            headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": body})


def refusal(path: str, headers: list[tuple[bytes, bytes]]) -> str:
    """Why a request is refused, or ""."""
    hosts = [value.decode("latin-1").lower() for name, value in headers if name.lower() == b"host"]
    origins = [value.decode("latin-1").lower() for name, value in headers if name.lower() == b"origin"]
    if len(hosts) != 1 or host_of(f"http://{hosts[0]}") not in HERE:
        return "The playground answers to 127.0.0.1 and localhost alone."
    if any(origin != f"http://{hosts[0]}" for origin in origins):
        return "The playground answers its own page alone."
    if "upload" in path:
        return "The playground takes no files."
    return ""


def host_of(address: str) -> str:
    """The name in an address, without user and port; "" if it is none."""
    try:
        found = urlsplit(address)
        return "" if "@" in found.netloc else found.hostname or ""
    except ValueError:
        return ""
