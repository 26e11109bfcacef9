"""Reads the report of a build (`GET /v1/report`), prints what wasn't a hit by package with its reasons, and fails where that isn't expected."""

import collections
import json
import sys

# Misses that nobody can help, by what is said of them.
UNAVOIDABLE = {"libmimalloc.a changed": "mimalloc's C code holds the time of its compilation"}

what, expected = sys.argv[1:]
units = json.load(sys.stdin)["units"]
outcomes = collections.Counter(one["unit"]["outcome"] for one in units)
print(f"{what}: {len(units)} units of {len({one['unit']['package'] for one in units})} packages: " + ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items())))
bad = outcomes["bypass"] + outcomes["failed"]
for one in units if expected != "stored" or bad else []:
    unit, words = one["unit"], "; ".join(one["why"].get("lines", []))
    if unit["outcome"] in ("local_hit", "remote_hit", "joined"):
        continue
    excuse = next((reason for said, reason in UNAVOIDABLE.items() if said in words), None)
    bad += expected == "hits" and excuse is None
    print(f"  {unit['package']:24} {unit['outcome']:7} {words}" + (f" ({excuse})" if excuse else ""))
sys.exit(bad != 0)
