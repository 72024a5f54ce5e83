"""The dashboard's addresses, and the headers of every answer. It answers GET alone, but for the token's form."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs

import anyio
import psycopg
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sync.adapters.postgres.connection.refusals import error_text
from sync.core.dashboard.history import WINDOWS, Window
from sync.dashboard import page
from sync.dashboard.access import LOOPBACK_NAMES, Access, Token
from sync.errors import SettingsError, SyncError
from sync.report import html
from sync.wiring.dashboard.recorded import recorded_pass
from sync.wiring.dashboard.watcher import LOOK_SECONDS, Seen, Watcher
from sync.wiring.kept import Answer, Kept
from sync.wiring.metrics import CONTENT_TYPE, metrics_text
from sync.wiring.readings import Readings

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_MAX_FORM = 4096
_END_SECONDS = 1.5


class Headers:
    """ASGI middleware: nothing is loaded from elsewhere, kept by a cache, or shown in a frame."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Content-Security-Policy", POLICY)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"], headers["Referrer-Policy"] = "nosniff", "no-referrer"
                headers["Cross-Origin-Opener-Policy"] = headers["Cross-Origin-Resource-Policy"] = "same-origin"
            await send(message)

        await self._app(scope, receive, sending)


class Dashboard:
    """What answers; all who look share one watcher, and one rendering of what it has seen last."""

    def __init__(self, watcher: Watcher, token: Token | None) -> None:
        self._watcher, self._token = watcher, token
        self._made: dict[str, tuple[Seen, dict[str, str]]] = {}
        self._readings, self._figures = Readings(), Kept(self._metrics)

    def _metrics(self) -> Answer:
        try:
            return 200, CONTENT_TYPE, metrics_text(self._watcher.settings, self._watcher.config, self._readings)
        except SettingsError as error:
            return 500, "text/plain; charset=utf-8", f"{error}\n".encode()

    async def metrics(self, _request: Request) -> Response:
        """The state in Prometheus's text format, as `sync worker --metrics-port` has it (docs/metrics.md)."""
        status, kind, text = await run_in_threadpool(self._figures.get)
        return Response(text, status, media_type=kind)

    def _rendered(self, seen: Seen, window: Window) -> dict[str, str]:
        """The parts of the page; made once of what was seen, whoever asks."""
        made = self._made.get(window.name)
        if made is None or made[0] is not seen:
            made = self._made[window.name] = (seen, page.parts(seen, window, self._watcher.show_keys))
        return made[1]

    async def _look(self, window: Window) -> Seen:
        return await run_in_threadpool(self._watcher.look, window)

    async def home(self, request: Request) -> Response:
        """The page as it is now."""
        window = _window(request)
        seen = await self._look(window)
        return HTMLResponse(page.page(seen, window, await run_in_threadpool(self._rendered, seen, window)))

    async def events(self, request: Request) -> Response:
        """The parts that change, as they change."""
        ends = anyio.Event()
        told = self._changes(_window(request), ends)
        return EventSourceResponse(told, ping=15, shutdown_event=ends, shutdown_grace_period=_END_SECONDS)

    async def _changes(self, window: Window, ends: anyio.Event) -> AsyncIterator[dict[str, str]]:
        """Until the server ends: a stream that is cut off is an error in its log."""
        told: dict[str, str] = {}
        while not ends.is_set():
            seen = await self._look(window)
            parts = await run_in_threadpool(self._rendered, seen, window)
            changed = {name: text for name, text in parts.items() if told.get(name) != text}
            told = parts
            if changed:
                yield {"event": "parts", "data": json.dumps({"title": page.title(seen), "parts": changed})}
            with anyio.move_on_after(LOOK_SECONDS / 2):
                await ends.wait()

    async def report(self, request: Request) -> Response:
        """The report of a recorded pass; its own policy allows its own style and script, by their hashes."""
        number = request.path_params["number"]
        try:
            found = await run_in_threadpool(recorded_pass, self._watcher.settings, number, self._watcher.show_keys)
        except (SyncError, psycopg.Error) as error:
            return HTMLResponse(page.problem("Not now", error_text(error)), 503)
        if found is None:
            return HTMLResponse(page.problem("No such pass", f"There is no recorded drift pass {number}."), 404)
        policy = f"{html.policy()}; frame-ancestors 'none'"
        return HTMLResponse(await run_in_threadpool(html.render, found), headers={"Content-Security-Policy": policy})

    async def login(self, request: Request) -> Response:
        """Take the token from the form."""
        if self._token is None:
            return HTMLResponse(page.problem("No token", "This dashboard asks for none."), 404)
        if request.method == "GET":
            return self.ask(False)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MAX_FORM:
                return self.ask(True)
        given = parse_qs(body.decode("latin-1"), keep_blank_values=True).get("token", [""])[0]
        if not self._token.is_right(given):
            return self.ask(True)
        return self._token.welcome("/", request.url.scheme == "https")

    def ask(self, refused: bool) -> Response:
        """The page that asks for the token."""
        return HTMLResponse(page.login(refused), 401)


def _window(request: Request) -> Window:
    return WINDOWS.get(request.query_params.get("window", ""), WINDOWS["hour"])


def make_app(watcher: Watcher, token: str | None, host: str = "localhost") -> Starlette:
    """The application; the watcher runs as long as it does. Without a token it answers to loopback's names and to `host`."""
    guard = Token(token) if token is not None else None
    dashboard = Dashboard(watcher, guard)
    routes = [
        Route("/", dashboard.home),
        Route("/events", dashboard.events),
        Route("/metrics", dashboard.metrics),
        Route("/passes/{number:int}", dashboard.report),
        Route("/login", dashboard.login, methods=["GET", "POST"]),
        Mount("/static", StaticFiles(packages=[("sync.dashboard", "static")])),
    ]
    middleware = [Middleware(Headers), Middleware(GZipMiddleware, minimum_size=2000)]
    if guard is None:  # a name that leads to 127.0.0.1 is any site's to have: its scripts must not read the page
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK_NAMES, host]))
    else:
        middleware.append(Middleware(Access, token=guard, ask=dashboard.ask))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watcher.start()
        yield
        watcher.stop()

    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan)
