"""Who may talk to the page: requests to its own name, from itself."""

import ipaddress
import socket
import urllib.parse

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Guard:
    """Refuses other hosts and origins, and adds headers to every answer.

    A website whose name is pointed at 127.0.0.1 (DNS rebinding) would otherwise read the
    answers, and any website could send clips.

    Args:
      app: behind it.
      host: the address that is listened on.
      headers: of every answer.
    """

    def __init__(self, app: ASGIApp, *, host: str, headers: dict[str, str]):
        self._app, self._headers = app, headers
        self._local = is_loopback(host)
        self._names = {"localhost"}
        if not self._local:
            self._names |= {host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        app = self._app
        if scope["type"] == "http" and (why := self._wrong(Headers(scope=scope))):
            app = PlainTextResponse(why, status_code=403)
        await app(scope, receive, marked)

    def _wrong(self, headers: Headers) -> str:
        """Why a request is refused; '' where it is not."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._known(_hostname(host)):
            wanted = (
                "localhost or 127.0.0.1" if self._local else "this machine's address"
            )
            return f"the page is not served for the host {host!r}; open it by {wanted}"
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return f"the request comes from another website, {origin!r}; open the page itself"
        return ""

    def _known(self, name: str) -> bool:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        # A page at an address was not reached by a name that someone else controls.
        return address.is_loopback or not self._local


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _hostname(host: str) -> str:
    try:
        return urllib.parse.urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
