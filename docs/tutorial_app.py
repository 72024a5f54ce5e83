"""The tutorial's application: it adds tunes, counts plays and forgets some until Ctrl-C; then it says what became of it."""

import random
import signal
import threading
import time
import uuid

from sync import SyncError, WriteUnsure, open_store


def main():
    ended = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: ended.set())
    tunes, told, slowest = {}, {"acknowledged": 0, "refused": 0, "unsure": 0}, 0.0
    with open_store() as store:  # the environment says which: Cassandra, both sides, or Postgres
        print("the application is running", flush=True)
        while not ended.is_set():
            began = time.monotonic()
            try:
                write(store, tunes)
                told["acknowledged"] += 1
            except SyncError as error:
                told["unsure" if isinstance(error, WriteUnsure) else "refused"] += 1
                print(error, flush=True)
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.01)
        wrong = sum(store.get("tunes", {"id": key}) != row for key, row in tunes.items())
    print(", ".join(f"{count} {what}" for what, count in told.items()), f"the slowest took {slowest * 1000:.0f} ms", sep="; ")
    print(f"{len(tunes)} tunes read back: {wrong} are not as they were written")


def write(store, tunes):
    """One write; `tunes` holds what was acknowledged last, None for a tune that was deleted."""
    alive = [key for key, row in tunes.items() if row]
    if len(alive) < 10 or random.random() < 0.3:
        row = {"id": uuid.uuid4(), "title": "Heard today", "plays": 0, "tags": {"by": "the tutorial"}}
        row["mood"] = [random.choice((-1.0, 0.5, 1.0)) for _ in range(8)]
        store.put("tunes", row)
    elif random.random() < 0.9:
        row = {**tunes[key := random.choice(alive)]}
        row["plays"] += 1
        store.update("tunes", {"id": key}, {"plays": row["plays"]})
    else:
        store.delete("tunes", {"id": (key := random.choice(alive))})
        row = None
    tunes[row["id"] if row else key] = row


if __name__ == "__main__":
    main()
