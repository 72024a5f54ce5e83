"""What the dashboard shows, from what was read: pure.

curves   figures over time as lines of a drawing
history  samples, and what they say over time
rings    how far each part of the token ring is
steps    the five steps of a migration, and which is the present one
tables   a line for each table
view     the whole page as values
"""
