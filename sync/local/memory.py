"""What a server's folder remembers between runs: its ports and its last pid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sync.errors import LocalServerError
from sync.local import ports


class Memory:
    """Numbers by name in `folder/state.json`."""

    def __init__(self, folder: Path, owner: str, host: str = ports.LOOPBACK) -> None:
        self._folder = folder
        self._owner = owner
        self._host = host

    def read(self) -> dict[str, int]:
        """All numbers; a file damaged by a crash counts as empty: a process is found without it, and a port chosen again."""
        try:
            content = json.loads((self._folder / "state.json").read_text())
        except (OSError, ValueError):
            return {}
        return {name: value for name, value in content.items() if isinstance(value, int)} if isinstance(content, dict) else {}

    def write(self, **values: int) -> None:
        """Add or change some numbers."""
        new = self._folder / "state.json.new"
        new.write_text(json.dumps({**self.read(), **values}))
        new.replace(self._folder / "state.json")

    def ports(self, names: Sequence[str]) -> dict[str, int]:
        """The ports chosen at the last start."""
        known = self.read()
        if any(name not in known for name in names):
            raise LocalServerError(f"{self._owner} has no port yet in {self._folder}; start it first")
        return {name: known[name] for name in names}

    def choose_ports(self, names: Sequence[str], wanted: int | None) -> dict[str, int]:
        """The ports of the last time if they are still free, else others; an explicitly `wanted` one must be free."""
        if wanted is not None and not ports.is_free(wanted, self._host):
            raise LocalServerError(
                f"{self._owner}: port {wanted} is taken by {ports.holder(wanted)}; end that or choose another port"
            )
        known = {**self.read(), **({} if wanted is None else {names[0]: wanted})}
        chosen: dict[str, int] = {}
        for name in names:
            port = known.get(name)
            if port is None or port in chosen.values() or not ports.becomes_free(port, self._host):
                port = ports.choose({*chosen.values(), *known.values()}, self._host)
            chosen[name] = port
        self.write(**chosen)
        return chosen
