"""Wires the drift report: the command, a worker's part, what it shows.

clear_writers  a full pass with repair clears fenced writers (rule 31)
command        `sync drift-report`
values         findings as they are shown, with values where asked for
verify         the comparison at the end of `sync migrate`
worker         a worker's part of a drift report
"""
