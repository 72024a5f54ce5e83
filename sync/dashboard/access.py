"""Who may see the page: everybody on this machine, or whoever has the token.

The token is compared in constant time. It is in no log, in no address, and in no cookie: that holds a digest made with it.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sync.errors import SettingsError

MIN_TOKEN = 16
COOKIE = "sync_dashboard"
_OPEN = ("/static/", "/login")
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]", "::1")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_token(host: str, token: str | None) -> None:
    """Raise SettingsError where there must be a token and is none, or it could be guessed."""
    if token is None and not is_loopback(host):
        raise SettingsError(f"--host {host}: others can reach it there: set SYNC_DASHBOARD_TOKEN (or --token)")
    if token is not None and (len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable()):
        raise SettingsError(f"the dashboard's token must have at least {MIN_TOKEN} characters, all of them printable ASCII")


class Token:
    """The token as what requests are compared with."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._cookie = hmac.digest(self._token, b"the cookie of sync dashboard", hashlib.sha256).hex()

    def is_right(self, given: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self._token)

    def lets_in(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
        """Whether a request has the cookie, or the token as `Authorization: Bearer`."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_right(given.strip()):
            return True
        return hmac.compare_digest(cookies.get(COOKIE, "").encode("utf-8", "surrogatepass"), self._cookie.encode())

    def welcome(self, address: str, secure: bool) -> Response:
        """To this address, with the cookie that later requests come with."""
        answer = RedirectResponse(address, 303)
        answer.set_cookie(COOKIE, self._cookie, httponly=True, samesite="lax", secure=secure)
        return answer


class Access:
    """ASGI middleware: whoever has no token is asked for it. `?token=` is taken once, and is then gone from the address."""

    def __init__(self, app: ASGIApp, token: Token, ask: Callable[[bool], Response]) -> None:
        self._app, self._token, self._ask = app, token, ask

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_OPEN):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        given = connection.query_params.get("token")
        if given is not None:
            right = self._token.is_right(given)
            kept = connection.url.remove_query_params("token")
            address = f"{kept.path}?{kept.query}" if kept.query else kept.path
            answer = self._token.welcome(address, connection.url.scheme == "https") if right else self._ask(True)
            await answer(scope, receive, send)
        elif self._token.lets_in(connection.headers, connection.cookies):
            await self._app(scope, receive, send)
        else:
            await self._ask(False)(scope, receive, send)
