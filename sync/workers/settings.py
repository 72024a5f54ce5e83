"""Settings for `rq worker -c sync.workers.settings`: the queue and where Redis is, both as `sync` itself sees them."""

from sync.adapters.queue import QUEUE
from sync.settings import load_settings

_url = load_settings().redis_url
REDIS_URL = _url.get_secret_value() if _url else None
QUEUES = [QUEUE]
