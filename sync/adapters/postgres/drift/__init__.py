"""The target's half of a proof: ranges and passes of drift reports, digests, single keys.

check_ledger    ranges, verdicts and findings of drift reports
keys            single keys: read, marked for a reconcile, given their token
pass_ledger     passes: closed, recorded, listed
search          vector search, in the source's terms
shadow_ledger   counts and keys of shadow reads
target_digests  digests and hashes of ranges, by the index on the token
"""
