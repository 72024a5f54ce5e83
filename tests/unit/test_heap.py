"""How a worker keeps the memory of pages."""

from __future__ import annotations

import subprocess
import sys

BLOCKS = 200
CODE = f"""
import resource
from sync.adapters.heap import keep_pages
keep_pages()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({BLOCKS}):
    pages = [bytes(b"x" * 1_000_000) for _ in range(3)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_the_memory_of_a_page_is_used_again() -> None:
    """Would break: each page of a megabyte is 256 page faults each time that it is copied, half of a worker's CPU time."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(done.stdout) < BLOCKS * 100
