"""Keys: as JSON for people and programs, and one that nobody has.

json_form   a key as JSON, for people and back
unused_key  a key that no row has, for what is sent to try the source
"""
