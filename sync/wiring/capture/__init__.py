"""Wires feeds of changes by others.

follow  `sync follow`: the ledger of feeds, and the loop
"""
