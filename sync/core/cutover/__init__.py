"""Gates, proofs and phases of a migration: pure judgements on facts that were read.

agreement  settings that writers, workers and commands must agree on
followers  what followers of changes by others must have done
gates      the gates of a cut-over, a rollback and the end: pure judgements
phases     where a migration is, and the next step
proof      which drift passes prove a table, and what invalidates them
"""
