"""Wires the drift report: the command, a worker's part, what the report shows.

clear_writers  a full pass with repair clears fenced writers (rule 31)
command        `sync drift-report`
values         findings as they are shown, on request with values
verify         the comparison at the end of `sync migrate`
worker         a worker's part of a drift report
"""
