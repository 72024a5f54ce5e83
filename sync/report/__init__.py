"""Reports as documents: they know the core and nothing else, read no server and write no file."""
