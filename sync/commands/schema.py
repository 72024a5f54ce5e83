"""`sync schema apply`."""

from __future__ import annotations

import argparse

from sync.commands.context import load
from sync.console import out, print_json
from sync.wiring.schema import apply_source, apply_target


def run(args: argparse.Namespace) -> int:
    """Make the schema and print what was done."""
    settings, config = load("source", "target")
    done = apply_source(settings, args.dimension, args.dry_run) if args.source else []
    if args.dry_run and done:
        done.append("-- then the target's schema, as the source requires")
    else:
        done += apply_target(settings, config, None, args.dimension, args.dry_run, args.example)
    if args.json:
        print_json({"dry_run": args.dry_run, "done": done})
        return 0
    for line in done or ["nothing to do: the schema is up to date"]:
        out.print(line, markup=False, soft_wrap=True)
    return 0
