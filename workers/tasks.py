"""RQ's entry points under their short names, for who works in a checkout; jobs name those of `sync.workers.tasks`."""

from sync.workers.tasks import check_ranges, copy_ranges_and_times, reconcile

__all__ = ["check_ranges", "copy_ranges_and_times", "reconcile"]
