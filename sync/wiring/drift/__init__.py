"""Wires the drift report: the command, a worker's part, what it shows.

clearing  a fenced writer is cleared by a full pass (rule 31)
command   `sync drift-report`
values    findings as they are shown, with values where asked for
verify    the comparison at the end of `sync migrate`
worker    a worker's part of a drift report
"""
