"""One row of the table: what a build counted, from `kache stats --json` on standard input. Fails where it isn't what was expected."""

import json
import sys

name, project, step, expected, failed, said = sys.argv[1:]
stats = json.load(sys.stdin)
outcomes = stats["outcomes"]
hits = sum(outcomes.get(kind, 0) for kind in ("local_hit", "remote_hit", "joined"))
cold = sum(outcomes.get(kind, 0) for kind in ("miss", "bypass", "failed"))
with open(said, errors="replace") as lines:
    stale = sum(line.lstrip().startswith(("Compiling", "Checking")) for line in lines)
wrong = {
    "any": False,
    "warm": cold > 0 or hits == 0,
    "none": hits + cold + stale > 0,
}[expected]
wrong = wrong or bool(failed)
reasons = " ".join(f"{reason}={count}" for reason, count in stats.get("bypass_reasons", {}).items() if count)
stale = stale if expected == "none" else "-"
verdict = "WRONG" if wrong else "ok"
print(f"{name:9} {project:9} {step:22} {hits:5} {outcomes['miss']:6} {outcomes['bypass']:8} {stale:>5}  {verdict:5} {reasons}".rstrip(), flush=True)
sys.exit(wrong)
