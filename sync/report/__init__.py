"""Reports as documents: they know only the core, read from no server and write no file.

figures   the report as values, and what its numbers say
findings  the findings as one table
html      the page
markup    the few pieces of HTML that sections are made of
ring      the token ring as a drawing
search    sampled vector searches
tables    what is said about each table
text      arbitrary text as HTML
verdict   the verdict in words, and the next step
"""
