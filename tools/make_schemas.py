"""Writes schemas/ from the field table: .venv/bin/python tools/make_schemas.py"""

from pathlib import Path

from xsm.site import schema

if __name__ == "__main__":
    folder = Path(__file__).resolve().parent.parent / "schemas"
    for name, make in schema.FILES.items():
        (folder / name).write_text(make(), encoding="utf-8")
