"""One module a command: gather what it needs, run one flow, print."""
