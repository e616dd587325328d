"""The figures of a long soak, from its JSON, written into docs/reliability.md.

uva-edge soak --minutes 60 --json > out/hour.json
python benchmarks/reliability.py out/hour.json --write
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from accuracy import DOCS, replace_between

MARK: Final = "soak"
UNITS: Final = {"memory": " MB", "descriptors": "", "threads": ""}


def soak_table(found: Mapping[str, Any]) -> list[str]:
    """A row for each fact of one run."""
    cpu, engine, asked, done = found["cpu"], found["engine"], found["options"], found["done"]
    command = (
        f"uva-edge soak --minutes {asked['minutes']:g} --streams {asked['streams']} --seed {asked['seed']} "
        f"--bundle {found['bundle']['name']}"
    )
    disturbed = ("resets", "reopened", "resized", "replays", "witnesses")
    rows = {
        "command": f"`{command}`",
        "begun": f"{found['started'].replace('T', ' ').replace('+00:00', ' UTC')}, {found['seconds'] / 60:.1f} minutes",
        "machine": f"{cpu['model']}, {cpu['cores']} usable cores",
        "versions": f"uva_edge {found['uva_edge']}, Python {found['python']}, {found['platform']}",
        "engine": f"{engine['engine']}, {engine['precision']}, threads: {engine['threads']}",
        "frames, each by two twins": f"{done['frames']:,}",
        ", ".join(disturbed): ", ".join(f"{done.get(name, 0):,}" for name in disturbed),
        "bad frames refused": f"{sum(found['refused'].values()):,}, of {len(found['refused'])} kinds",
        "defects": str(found["defect_count"]),
    }
    for trend in found["trends"]:
        unit = UNITS[trend["name"]]
        rows[trend["name"]] = (
            f"{trend['first']:.1f} to {trend['last']:.1f}{unit}; {trend['per_hour']:+.2f}{unit} an hour "
            f"({trend['low']:+.2f} to {trend['high']:+.2f}, 95 %)"
        )
    rows["verdict"] = "PASS" if found["passed"] else "FAIL: " + "; ".join(found["problems"])
    return ["| of the run | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("report", type=Path, help="what uva-edge soak --json printed")
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md; printed otherwise")
    options = parser.parse_args()
    lines = soak_table(json.loads(options.report.read_text(encoding="utf-8")))
    if options.write:
        replace_between(DOCS / "reliability.md", MARK, lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
