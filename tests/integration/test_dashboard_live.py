"""The dashboard in a real browser while a migration is under way: a backfill, Postgres gone and back, the end of the copy."""

from __future__ import annotations

import signal
from contextlib import closing

import pytest
from support.chromium import NAMES, chromium, installed
from support.pages import CONTRAST, WIDE, soon
from support.places import NewPlace
from support.proxies import Proxy
from support.web import serving

from sync.settings import load_config
from sync.wiring.dashboard.watcher import Watcher

pytest_plugins = ("support.fixtures",)
PROGRAM = installed()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason=f"no browser here: none of {', '.join(NAMES)}"),
]
PHONE = 400


def test_a_backfill_is_followed_through_an_outage_to_its_end(new_place: NewPlace) -> None:
    """Would break: the ring stands still while rows are copied, or the page that lost Postgres never shows the end."""
    with new_place() as place, chromium(str(PROGRAM)) as page:
        place.cql("CREATE TABLE KS.songs (id int PRIMARY KEY, title text)")
        insert = place.cassandra.session.prepare(f'INSERT INTO "{place.keyspace}".songs (id, title) VALUES (?, ?)')
        for answer in [place.cassandra.session.execute_async(insert, (n, "Air")) for n in range(6000)]:
            answer.result()
        place.configure("schema_files = []\n[backfill]\nmin_ranges = 64\n")
        assert place.commands.run("schema", "apply").code == 0
        copy = place.commands.start("backfill", "--workers", "1", "--rate", "100")  # a minute, if nobody ends it
        proxy = Proxy("127.0.0.1", place.settings.postgres_port)
        settings = place.settings.model_copy(update={"postgres_port": proxy.port})
        watcher = Watcher(settings, load_config(place.commands.folder / "sync.toml"))
        page.look(PHONE, dark=True)
        with closing(proxy), serving(watcher) as address:
            try:
                page.visit(address)
                soon(page, "document.querySelector('h1')?.innerText.startsWith('Copying, ')")
                ring = "document.querySelector('#tables .ring .done')?.getAttribute('stroke-dasharray')"
                first = soon(page, ring)
                soon(page, f"({ring}) !== {first!r}")
                soon(page, "document.querySelector('#tables .rate span').innerText")
                soon(page, "[...document.querySelectorAll('#gates .red b')].some((b) => b.innerText === 'backfill')")
                soon(page, "document.querySelector('#history svg path.line').getAttribute('d')")
                assert page.run("document.documentElement.scrollWidth") == PHONE
                assert page.run(WIDE) == [] and page.run(CONTRAST) == []
                proxy.cut()
                soon(page, "document.querySelector('#banner').innerText.includes('These figures are not of now.')")
                assert page.run("document.querySelector('h1').innerText").startswith("Copying, "), "what was known stays"
                proxy.heal()
                soon(page, "document.querySelector('#banner').innerText === ''")
            finally:
                copy.send_signal(signal.SIGINT)
                place.commands.ended(copy)
            assert place.commands.run("backfill", "--workers", "1").code == 0
            soon(page, "document.querySelector('h1').innerText === 'Copied, not yet proved'")
            assert page.run(ring) == "1000 0"
            assert page.complaints == []
