"""The marked blocks of the pages: each is made by docs/make_blocks.py, and a comparison sees lines, not figures."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pytest

from sync.arguments import build_parser

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "make_blocks.py"
MAKER: dict[str, Any] = runpy.run_path(str(SCRIPT))
BLOCKS: dict[str, str] = {n: text for page in MAKER["PAGES"] for n, text in MAKER["blocks_of"](ROOT / page).items()}
SHAPE = MAKER["shape"]


def test_every_block_was_written_by_a_run() -> None:
    """Would break: an empty block, or one that no run writes and that nothing keeps true."""
    assert len(BLOCKS) > 20
    told = set(re.findall(r'"((?:guide|tutorial|demo)[\w-]*)"', SCRIPT.read_text(encoding="utf-8")))
    assert {name for name, text in BLOCKS.items() if not text.strip() or name not in told} == set()


def test_a_page_has_each_block_once() -> None:
    """Would break: there are two blocks of the same name, and a comparison sees only the last."""
    marks = [n for page in MAKER["PAGES"] for n in re.findall(r"<!-- block: ([\w-]+) -->", (ROOT / page).read_text("utf-8"))]
    assert sorted(marks) == sorted(BLOCKS)


def test_the_tutorials_application_is_the_file_that_runs() -> None:
    """Would break: a reader copies a different program from the one that was run."""
    assert {name: BLOCKS[name] for name in MAKER["copied"]()} == MAKER["copied"]()


@pytest.mark.parametrize(
    "line", sorted({line for text in BLOCKS.values() for line in re.findall(r"^\$ (sync .*)$", text, re.M)})
)
def test_command_lines_in_blocks_are_ones_that_it_takes(line: str) -> None:
    """Would break: an option that was renamed since the run."""
    build_parser().parse_args(shlex.split(line.removesuffix(" &"))[1:])


def test_figures_do_not_count_and_lines_do() -> None:
    """Would break: a comparison that fails at every run, or one that never does."""
    page = "songs: 64/64 ranges, 3,001 rows, 1,925 rows/s, 0s left\ntable  rows   left\nsongs  3,000     -\nReady.\n"
    run = "songs: 1/1 ranges, 301 rows, 88.5 rows/s, 1m02s left\ntable  rows  left\nsongs   300    4s\nReady.\n"
    assert SHAPE(page) == SHAPE(run)
    assert SHAPE(page) == SHAPE("epoch 2: postgres is primary now\n" + run)
    assert SHAPE(page) != SHAPE(run.replace("left\n", "to go\n", 1))
    assert SHAPE(page) != SHAPE(run.replace("Ready.\n", ""))
    assert SHAPE(page) != SHAPE(run.replace("songs   300", "genres  300"))
    assert SHAPE("intents  0 open (at most 0)") == SHAPE("intents  3 open (at most 0), the oldest 2 s")
    assert SHAPE("1 write waited; 1 table") == SHAPE("2 writes waited; 3 tables")
    assert SHAPE("intents: 0 open; 1") == SHAPE("intents: 8 open, the oldest 1m02s old; 2")


def test_a_difference_names_the_block_and_both_lines() -> None:
    """Would break: a check that says "differs", but not where."""
    name = next(name for name in BLOCKS if name.startswith("guide-"))
    assert MAKER["differing"]({name: BLOCKS[name]}) == []
    (said,) = MAKER["differing"]({name: BLOCKS[name] + "one line more\n"})
    assert said == f"{name}: the page has '(end)', the run 'one line more'"
