"""Documents of the Data API: collections as tables, and changes of single fields.

changes      changes of a document's fields, as the Data API's `$set` makes them
collections  a collection as a table
"""
