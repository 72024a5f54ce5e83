"""Everything that talks to servers: each module implements a port (`sync.ports`) with a driver, and knows no flow.

astra/           the Data API, by astrapy
capture/         feeds of changes by others
cassandra/       Cassandra and Astra over CQL, by the DataStax driver
commitlog/       the commit log of a Cassandra node, read beside it
postgres/        Postgres, by psycopg
pulsar/          topics of change data capture, by pulsar-client and fastavro
heap             keeps and gives back memory that was freed
job_serializers  which serializer (JSON or pickle) the workers read; nothing is unpickled here
notifier_thread  notifies workers from a thread of its own, so that no caller waits for Redis
queue            notifies workers through RQ; Postgres knows what there is to do
queue_errors     what is wrong with REDIS_URL or the server, in one line
queue_state      what stands in the queue, and why jobs failed
store_metrics    metrics of an application's stores, where prometheus-client is installed
suspension       whether this process was suspended; if so, it asks Postgres before it accepts a write
webhook          sends one JSON object to an address, once
witness          the file that says whether a dead process had anything unrecorded (rule 29)
"""
