"""A cluster from settings: nodes, data centres, TLS, pages as bytes, what the driver's errors mean.

connect       a cluster from settings: contact points or a secure bundle, TLS, credentials
data_centres  which data centre this process reads and writes
faults        the driver's errors, sorted: too much for one request, not now, or neither
guardrails    what a refusal is about, and what to do, in one line
nodes         the driver goes on with the others, and says nothing
pages         pages of a token range as the bytes that came over the wire
preparing     looks at one table that know nothing of each other ask with the same text
quiet         the driver's log, without repetition
routing       a read of a range goes to a replica of it
tls           certificates: by authority, and by name or address
"""
