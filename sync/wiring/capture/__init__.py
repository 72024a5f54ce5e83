"""Wires feeds of changes by others.

commitlog  `sync follow commitlog`: the feed of a node
follow     `sync follow`: the ledger of feeds, and the loop
"""
