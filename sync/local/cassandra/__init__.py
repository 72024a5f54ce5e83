"""Cassandra as an embedded server.

config  its cassandra.yaml, JVM arguments and log settings
fetch   jars by Maven coordinates, as a process of its own
java    Java, and Cassandra's jars
role    ours takes its place
server  Cassandra, from Maven Central's jars
"""
