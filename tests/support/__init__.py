"""What the tests of types and ranges share: raw CQL cells, values to try, a slow oracle, and the way through real servers."""
