"""Processes killed at every step of the protocol, with random work around them; and whether anything was lost."""
