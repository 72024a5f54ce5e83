"""Wires cut-over, rollback and finish: facts for the gates, canary, switch.

canary   whether the way back to the source is open
command  `sync cutover` and `sync rollback`
finish   `sync finish`
gates    the gates, with the facts behind them
reads    reads that the next primary cannot answer
"""
