"""`sync dashboard`: one page that shows where a migration stands; it runs no command and writes nothing but samples.

access  who may see it: a token where it listens elsewhere than on loopback
app     its addresses, and the headers of every answer
page    views as HTML: the templates of `templates/`, in parts that are sent again when they change
"""
