"""What RQ's workers run. It lives in the package: a folder with a package `workers` of its own hides nothing of it.

own       the worker that reads its jobs as JSON
pool      worker processes of a command
settings  for `rq worker -c sync.workers.settings`
tasks     the functions that jobs name
"""
