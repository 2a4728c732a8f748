"""Writes schemas/ from the field table; with --check only says, by its exit code, whether they are up to date."""

import sys
from pathlib import Path

from xsm.site import schema

FOLDER = Path(__file__).resolve().parent.parent / "schemas"


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print("usage: make_schemas.py [--check]", file=sys.stderr)
        return 2
    stale = []
    for name, make in schema.FILES.items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != make():
            stale.append(path)
    if not arguments:
        for path in stale:
            path.write_text(schema.FILES[path.name](), encoding="utf-8")
        return 0
    for path in stale:
        print(f"{path} is not up to date: run tools/make_schemas.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
