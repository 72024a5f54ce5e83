"""A cluster from settings: nodes, data centres, TLS, pages as bytes, what the driver's errors mean.

connect          a cluster from settings: contact points or a secure bundle, TLS, credentials
data_centres     which data centre this process reads and writes
driver_log       the driver's log, without repetition
faults           the driver's errors, sorted: too much for one request, source temporarily unavailable, or neither
guardrails       Cassandra's guardrails: which limit a refusal is about, and what to do
nodes            which nodes cannot be used, and why: the driver itself silently uses the others
one_row          one row by its key, to see how long that takes
pages            pages of a token range as the bytes that came over the wire
roles            nodes that cannot look a role up, which is an outage and no wrong password
routing          a read of a range goes to a replica of it
statement_cache  a session that prepares each statement once
tls              certificates, checked by authority, and by name or address
wide             the driver's connection, fit for rows of megabytes and any network
"""
