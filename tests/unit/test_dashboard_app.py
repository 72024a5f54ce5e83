"""Who may see the dashboard, the headers of its answers, and that nothing on it is read as markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient
from support import dashboards

from sync.core.dashboard.history import Window
from sync.dashboard import page
from sync.dashboard.access import COOKIE, check_token, is_loopback
from sync.dashboard.app import make_app
from sync.errors import SettingsError
from sync.settings import Settings
from sync.wiring.dashboard.watcher import Seen

TOKEN = "correct-horse-battery"


class Watcher:
    """A watcher that has seen one thing, and reads nothing."""

    settings, show_keys = Settings(_env_file=None), False

    def __init__(self, seen: Seen) -> None:
        self.seen, self.running = seen, False

    def look(self, window: Window) -> Seen:
        return self.seen

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False


Open = Callable[..., TestClient]


@pytest.fixture
def browse() -> Iterator[Open]:
    """A client of a dashboard, at an address that it answers to."""
    opened: list[TestClient] = []

    def made(token: str | None = None, base: str = "http://127.0.0.1:8765", seen: Seen | None = None) -> TestClient:
        watcher: Any = Watcher(seen or dashboards.copying())
        opened.append(TestClient(make_app(watcher, token), base_url=base, follow_redirects=False))
        return opened[-1].__enter__()

    yield made
    for client in opened:
        client.__exit__()


def test_on_loopback_anybody_here_sees_it(browse: Open) -> None:
    """Would break: the page loads something from elsewhere, may be framed, or is kept by a cache."""
    answer = browse().get("/")
    assert answer.status_code == 200 and "Copying, " in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'")
    assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-store" and "server" not in answer.headers
    assert "://" not in answer.text.replace("http://www.w3.org", ""), "nothing is loaded from elsewhere"
    assert " style=" not in answer.text and "<script>" not in answer.text, "the policy refuses them"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8765"])
def test_a_name_of_somebody_elses_is_not_answered_to(browse: Open, host: str) -> None:
    """Would break: a site whose name leads to 127.0.0.1 reads the page with its own script (DNS rebinding)."""
    client = browse()
    assert client.get("/", headers={"host": host}).status_code == 400
    assert client.get("/", headers={"host": "localhost:1"}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/events", "/passes/1", "/static/style.css"])
def test_it_answers_get_alone(browse: Open, method: str, path: str) -> None:
    """Would break: the page can be made to change something."""
    assert browse().request(method, path).status_code == 405


@pytest.mark.parametrize("path", ["/", "/events", "/metrics", "/passes/1", "/nothing"])
def test_without_the_token_nothing_is_shown(browse: Open, path: str) -> None:
    """Would break: one of the addresses is open to whoever reaches the port."""
    client = browse(TOKEN, "http://10.0.0.7:8765")
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": TOKEN},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}="},
    ):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 401 and "songs" not in answer.text and TOKEN not in answer.text
    assert client.get(f"{path}?token=wrong").status_code == 401
    assert client.get("/static/style.css").status_code == 200, "the form has its style"


def test_the_token_is_given_once(browse: Open) -> None:
    """Would break: the token stays in the address or in the cookie, or a script can read the cookie."""
    client = browse(TOKEN, "http://10.0.0.7:8765")
    answer = client.get(f"/?window=day&token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?window=day")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie and TOKEN not in cookie and "Secure" not in cookie
    assert client.get("/").status_code == 200, "with the cookie alone"
    assert browse(TOKEN).get("/", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    safe = browse(TOKEN, "https://sync.example")
    assert "Secure" in safe.get(f"/?token={TOKEN}").headers["set-cookie"]


def test_the_form_takes_the_token(browse: Open) -> None:
    """Would break: somebody who was told the token has no way to give it but the address."""
    client = browse(TOKEN, "http://10.0.0.7:8765")
    assert "That is not the token" in client.post("/login", data={"token": "wrong"}).text
    assert client.post("/login", content=b"token=" + b"x" * 10_000).status_code == 401
    answer = client.post("/login", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert client.get("/").status_code == 200
    assert browse().get("/login").status_code == 404, "where there is no token, nobody is asked for one"


@pytest.mark.parametrize(
    ("host", "token", "said"),
    [
        ("0.0.0.0", None, "--host 0.0.0.0: others can reach it there: set SYNC_DASHBOARD_TOKEN (or --token)"),
        ("::", None, "--host ::: others can reach it there: set SYNC_DASHBOARD_TOKEN (or --token)"),
        ("sync.example", None, "--host sync.example: others can reach it there: set SYNC_DASHBOARD_TOKEN (or --token)"),
        ("0.0.0.0", "short", "the dashboard's token must have at least 16 characters, all of them printable ASCII"),
        ("127.0.0.1", "", "the dashboard's token must have at least 16 characters, all of them printable ASCII"),
    ],
)
def test_elsewhere_than_on_loopback_there_must_be_a_token(host: str, token: str | None, said: str) -> None:
    """Would break: a migration is shown to a whole network, or to whoever guesses four characters."""
    with pytest.raises(SettingsError) as refused:
        check_token(host, token)
    assert str(refused.value) == said


def test_loopback_has_several_names() -> None:
    """Would break: `--host ::1` asks for a token, or a public address for none."""
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost", "0.0.0.0", "10.0.0.7", "localhost.evil")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip
    check_token("127.0.0.1", None)
    check_token("0.0.0.0", TOKEN)


def test_markup_in_a_name_is_text(browse: Open) -> None:
    """Would break: whoever names a table, a feed or a writer runs a script on the page, or hides a part of it."""
    mark = "<script>alert(1)</script>\u202e'\"<b>"
    found = dashboards.status(
        tables=[dashboards.table(mark, error=mark)], writers=[dashboards.writer(mark)], attention=[f"{mark}: sync rejects"],
        gates=[dashboards.gate(mark, False, mark, mark)], next_step=mark, gates_error=mark,
        gaps=[{"feed": mark, "table": mark, "until": "2026", "why": mark}],
    )  # fmt: skip
    snapshot = dashboards.snapshot(found, names={"keyspace": mark, "database": mark})
    text = browse(seen=dashboards.seen(snapshot, why=mark, away_since=dashboards.NOW)).get("/").text
    assert "<script>alert" not in text and "<b>'" not in text and "\u202e" not in text
    assert text.count("&lt;script&gt;") >= 12


def test_what_is_not_known_is_said(browse: Open) -> None:
    """Would break: a page without any figures, or with old ones that look like those of now."""
    away = Seen(1, None, {}, "Postgres at db:5432/music does not answer", datetime(2026, 5, 17, 14, 3, tzinfo=UTC))
    text = browse(seen=away).get("/").text
    assert "Nothing is known yet." in text and "since 14:03:00 UTC" in text and "<title>sync: not known</title>" in text
    old = dashboards.seen(dashboards.snapshot(), why="Postgres does not answer", away_since=dashboards.NOW)
    text = browse(seen=old).get("/").text
    assert "These figures are not of now." in text and "Copied, not yet proved" in text
    assert "Reading." in browse(seen=Seen()).get("/").text


def test_commands_are_set_as_such() -> None:
    """Would break: what to type cannot be told from what it does."""
    set_as = {
        "compare both sides: sync drift-report, twice; --table for one table": ["sync drift-report"],
        "sync rollback goes back (sync rollback --fast in an emergency); sync finish ends it": ["sync rollback", "sync rollback --fast", "sync finish"],
        "if it has ended, sync writers --fence app-2:913": ["sync writers --fence app-2:913"],
        "`sync backfill` resumes it": ["sync backfill"],
        "out of sync with it": [],
    }  # fmt: skip
    for text, commands in set_as.items():
        made = str(page.prose(text))
        assert re.findall(r"<code[^>]*>([^<]*)</code>", made) == commands, made


def test_a_part_is_sent_again_only_when_it_changed() -> None:
    """Would break: every viewer gets the whole page every second."""
    first = page.parts(dashboards.many(), dashboards.HOUR, False)
    assert set(first) == set(page.PARTS)
    other = dashboards.many()
    assert page.parts(other, dashboards.HOUR, False) == first
    why = page.parts(dashboards.seen(other.snapshot, [], why="away"), dashboards.HOUR, False)  # type: ignore[arg-type]
    assert {name for name in page.PARTS if why[name] != first[name]} == {"banner", "clock", "history", "tables"}


def test_two_hundred_tables_do_not_bury_those_that_are_worked_on() -> None:
    """Would break: the five tables that are being copied stand among 195 that are done."""
    text = page.parts(dashboards.many(), dashboards.HOUR, False)["tables"]
    shown, folded = text.split('<details id="d-copied">')
    assert shown.count("<tr ") - 1 == 5 and folded.count("<tr ") - 1 == 195
    assert page.parts(dashboards.copying(), dashboards.HOUR, False)["tables"].count("<details") == 0
