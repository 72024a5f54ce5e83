"""Reports as documents: they know the core and nothing else, read no server and write no file.

figures   the report as values, and what its numbers say
findings  the findings as one table
html      the page
markup    the few pieces of HTML that sections are made of
ring      the token ring as a drawing
search    sampled vector searches
tables    what is said of each table
text      text that may hold anything, as HTML
verdict   the verdict in words, and the next step
"""
