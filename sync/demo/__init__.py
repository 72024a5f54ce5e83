"""The demo: 15,112 real tunes, an application that writes them, and the migration to Postgres, back, and to its end.

application    writes, counts and deletes while the migration runs
corpus         music21's entries as rows
corpus_abc     the notes of an ABC tune
corpus_pieces  the pieces that music21 ships
corpus_scores  the melody of a score
documents      the corpus as documents of four collections
load           loads the corpus into a Cassandra
melody         a melody as 64 numbers
others         a service that knows nothing of sync: its statements are CQL, or SQL
searches       tunes most like this one, on both sides
story          the whole demo, step by step
"""
