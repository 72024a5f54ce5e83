"""Changes by others: what feeds tell is recorded as announcements, with each feed's position.

announced    keys as a feed has them, as the journal's
feed_ledger  announcements; feeds: positions, leases, gaps, in one transaction (rules 32 and 39 to 41)
feeds        feeds as an operator and the gates see them
partition_rechecks  rechecks of partitions, expanded to rechecks of keys (rule 46)
"""
