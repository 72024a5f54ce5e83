"""What RQ's workers run. It lives in the package: a folder with a package `workers` of its own hides nothing of it.

json_worker  an RQ worker that reads JSON jobs only
pool         worker processes of a command
settings     for `rq worker -c sync.workers.settings`
tasks        the functions that jobs name
"""
