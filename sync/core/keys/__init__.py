"""Keys: as JSON for people and programs, and one that no row has.

any_value   some value of a type
json_form   a key as JSON, for people and back
unused_key  a key that no row has, for a test write to the source
"""
