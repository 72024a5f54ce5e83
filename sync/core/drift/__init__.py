"""Comparing two sides of a range by key and hash: digests, verdicts, the report of a pass.

answers       two answers to one read, as an application sees them
compare       comparing two sides by key and hash; that the numbers add up
digest        row hashes and digests, as both sides compute them
expiring      rows that expire while they are compared
range_hashes  hashes and raw keys of a range, packed
report        the report of a pass, from its ranges' verdicts
results       the result of a range's check: figures, and the keys that differ
search        how well two rankings agree
verdicts      the verdict on one key
"""
