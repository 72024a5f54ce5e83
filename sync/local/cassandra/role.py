"""The password of an embedded Cassandra. A new one has a superuser with a well-known password, which our role replaces."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from sync.errors import LocalServerError
from sync.local.secret import write_secret
from sync.local.wire import CqlConnection, CqlRefused

USER = "sync"
_FIRST = "cassandra"  # the name and the password of the superuser that Cassandra makes if there is no role
_DEMANDS = '"PasswordAuthenticator"'

Login = Callable[[str, str], CqlConnection]


class Role:
    """The superuser `sync` of the Cassandra in `folder`; its password is in a file that only its owner can read.

    The file has its name only once nobody else can log in. Until then it is called `password.next`.
    """

    def __init__(self, folder: Path, replication: str | None = None) -> None:
        """`replication` is that of the keyspace of roles, where Cassandra's own does not serve."""
        self._replication = replication
        self._folder = folder
        self._file, self._next = folder / "password", folder / "password.next"

    @property
    def password(self) -> str:
        """The generated password; "" if there is none, or while a server runs that an older version started without one."""
        try:
            return self._file.read_text()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise LocalServerError(f"Cassandra: its password in {self._folder} cannot be read: {error.strerror}") from error

    def prepare(self) -> None:
        """Generate a password if there is none. Raises LocalServerError if the file with the password in use was removed."""
        data, config = self._folder / "data", self._folder / "cassandra.yaml"  # of the last start
        if self._file.exists() and not data.exists():
            self._file.replace(self._next)  # the role went with the data
        if self._file.exists() or self._next.exists():
            return
        if data.exists() and config.exists() and _DEMANDS in config.read_text():
            raise LocalServerError(f"Cassandra: {self._file} is gone; put it back, or remove {self._folder} and start again")
        write_secret(self._next, secrets.token_urlsafe(18))

    def claim(self, login: Login) -> bool:
        """Make the role, and drop the one with the well-known password; False while the server is not ready for it.

        Somebody else may have logged in with the well-known one first. A role that they made raises LocalServerError; while a
        session of theirs is open, the server is not ready: it keeps its privileges until the cache of roles forgets them.
        """
        if not self._next.exists():
            return False
        try:
            alone = self._replace(login, self._next.read_text())
        except (OSError, CqlRefused):
            return False
        if alone:
            self._next.replace(self._file)
        return alone

    def is_alone(self, login: Login) -> bool:
        """Whether nobody is logged in to this node with the well-known password: another node made the role."""
        try:
            with login(USER, self.password) as ours:
                return _sessions_of_first(ours) == 0
        except (OSError, CqlRefused):
            return False

    def _replace(self, login: Login, password: str) -> bool:
        try:
            first = login(_FIRST, _FIRST)
        except CqlRefused:  # it is not there yet, or we were interrupted after we had dropped it
            return self._drop_first(login, password, sessions=0)
        with first:
            if self._replication:  # the superuser's own row is read at QUORUM, ours at LOCAL_QUORUM
                first.execute(f"ALTER KEYSPACE system_auth WITH replication = {self._replication}")
            rights = f"SUPERUSER = true AND LOGIN = true AND PASSWORD = '{password}'"
            first.execute(f"CREATE ROLE IF NOT EXISTS {USER} WITH {rights}")
            return self._drop_first(login, password, sessions=1)

    def _drop_first(self, login: Login, password: str, sessions: int) -> bool:
        with login(USER, password) as ours:
            ours.execute(f"DROP ROLE IF EXISTS {_FIRST}")
            if _count(ours, "SELECT count(*) FROM system_auth.roles") != 1:
                raise LocalServerError(
                    f"Cassandra: somebody else made a role before it had a password; remove {self._folder} and start again"
                )
            return _sessions_of_first(ours) == sessions


def _sessions_of_first(connection: CqlConnection) -> int:
    """How many clients of this node are logged in with the well-known password."""
    return _count(connection, f"SELECT count(*) FROM system_views.clients WHERE username = '{_FIRST}' ALLOW FILTERING")


def _count(connection: CqlConnection, statement: str) -> int:
    """The number in an answer of one row with one number, which comes last in it."""
    return int.from_bytes(connection.execute(statement)[-8:], "big")
