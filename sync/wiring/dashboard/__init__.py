"""What `sync dashboard` reads, and the samples that commands take for it.

recorded  a recorded drift pass as `sync drift-report --json` prints one
sampler   takes a sample every few seconds while something runs
watcher   reads everything again and again, for all who look
"""
