"""`rq worker -c workers.settings` in a checkout; the same as `-c sync.workers.settings`, which a wheel has as well."""

from sync.workers.settings import QUEUES, REDIS_URL

__all__ = ["QUEUES", "REDIS_URL"]
