"""Keys: as JSON for people and programs, and one that nobody has.

own_key  a key that nobody has
shown    a key as JSON, for people and back
"""
