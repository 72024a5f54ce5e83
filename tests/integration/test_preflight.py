"""What can be wrong before a migration, one line each: what, where, what to do; no traceback, no secret, exit code 1."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.astra import bundle
from support.commands import Commands, Done
from support.places import Certificates, NewPlace, Place, admin
from support.wire import Guarded

from sync.local import PostgresServer, ValkeyServer
from sync.local.wire import ask_redis

pytest_plugins = ("support.fixtures",)

NOWHERE = "no.such.host.invalid"
HOW = "; it must read postgresql://user:password@host:port/database, with @ : / % in the password as %40 %3A %2F %25"
UNTELLABLE = f"DATABASE_URL is not a Postgres URL: its host, port or database cannot be told{HOW}"
REFUSED = "the user name or password was refused; check"
