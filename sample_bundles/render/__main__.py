"""`python -m sample_bundles.render [--check] [--to FOLDER]`: writes the sample bundles, or says which files differ."""

import argparse
import sys
from pathlib import Path

from sample_bundles.render.write import differences, render, write

HERE = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """0 when all is written or equal, 1 when `--check` found differing files (their names on standard output)."""
    parser = argparse.ArgumentParser(prog="python -m sample_bundles.render", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 and list the files that differ")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="where the files lie (default: here)")
    options = parser.parse_args(arguments)
    files = render()
    if not options.check:
        write(options.to, files)
        return 0
    found = differences(options.to, files)
    sys.stdout.write("".join(f"{name}\n" for name in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
