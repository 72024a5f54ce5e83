"""What RQ's workers run. It is inside the package `sync`, so that another package named `workers` cannot hide it.

health       `/metrics`, `/healthz` and `/readyz` of `sync worker`
json_worker  an RQ worker that reads JSON jobs only
overdue      drains what waits while all workers have long jobs
pool         worker processes of a command
settings     for `rq worker -c sync.workers.settings`
tasks        the functions that jobs name
"""
