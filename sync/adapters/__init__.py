"""What speaks to servers: each module fulfils a port (`sync.ports`) with a driver, and knows no flow.

astra/        the Data API, by astrapy
cassandra/    Cassandra and Astra over CQL, by the DataStax driver
postgres/     Postgres, by psycopg
awake         whether this process was suspended: who was asks Postgres before it accepts anything
heap          gives memory back to the system
job_forms     how jobs are serialised on the queue; nothing is unpickled here
queue         notifies workers through RQ; Postgres knows what there is to do
queue_errors  what is wrong with REDIS_URL or the server, in one line
ringer        notifies from a thread of its own, so that no caller waits for Redis
witness       the file that says whether a dead process had anything unrecorded (rule 29)
"""
