"""Pure logic: no I/O and no driver imports (import-linter holds it)."""
