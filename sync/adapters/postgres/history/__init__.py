"""What has happened so far, for the dashboard.

events   epochs, switches and drift passes
samples  `sync.sample`: figures every few seconds, thinned after a day
"""
