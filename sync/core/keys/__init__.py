"""Keys: as JSON for people and programs, and one that no row has.

json_form   a key as JSON, for people and back
unused_key  a key that no row has, for a test write to the source
"""
