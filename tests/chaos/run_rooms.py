"""`python -m tests.chaos.run_rooms --trials 50 --seed 1`: the same for deletes and rechecks of partitions (`chaos.rooms`).

A point is written with its primary: `partitions.claimed:postgres`. Exit code 2 where anything was lost.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from chaos.rooms import POINTS, Rooms  # noqa: E402
from chaos.run import own_place, say  # noqa: E402

NAMES = [f"{point}:{primary}" for point, primary in POINTS]


def main(argv: list[str]) -> int:
    """Run the trials; 0, or 2 if anything was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run_rooms", description=__doc__)
    parser.add_argument("--trials", type=int, default=50, help="of each crash point")
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--point", action="append", choices=NAMES, help="only this one (may be repeated)")
    parser.add_argument("--number", type=int, help="only the trial of this number")
    args = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    began, faults, unreached = time.monotonic(), list[str](), list[str]()
    numbers = range(args.trials) if args.number is None else [args.number]
    say(f"seed {args.seed}, {args.trials} trials of each crash point\n")
    say("| crash point | primary | trials | killed there | wrong | seconds |\n| --- | --- | ---: | ---: | ---: | ---: |")
    with own_place("rooms") as place:
        rooms = Rooms(place)
        try:
            for name in args.point or NAMES:
                point, primary = name.split(":")
                at, before = time.monotonic(), rooms.kills
                wrong = {n: found for n in numbers if (found := rooms.trial(point, primary, f"{args.seed}:{name}:{n}"))}
                killed = rooms.kills - before
                say(f"| {point} | {primary} | {len(numbers)} | {killed} | {len(wrong)} | {time.monotonic() - at:.0f} |")
                faults += [f"--point {name} --number {n}: {'; '.join(found)}" for n, found in wrong.items()]
                if not killed and args.number is None:
                    unreached.append(name)
        finally:
            rooms.close()
    say(f"\n{time.monotonic() - began:.0f} s in all")
    for fault in faults:
        say(f"\nagain: python -m tests.chaos.run_rooms --seed {args.seed} {fault}")
    for name in unreached:
        say(f"\n{name}: no trial reached it")
    return 2 if faults or unreached else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
