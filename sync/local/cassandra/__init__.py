"""Cassandra as an embedded server.

cluster  several nodes: their shape, and the options of each
config   its cassandra.yaml, JVM arguments and log settings
fetch    jars by Maven coordinates, in a process of its own
java     Java, and Cassandra's jars
role     replaces the superuser with the well-known password
server   Cassandra, from Maven Central's jars
"""
