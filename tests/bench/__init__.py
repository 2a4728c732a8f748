"""Benchmarks: they print figures and compare, and assert nothing on seconds.

`python -m tests.bench` runs all of them, `python -m tests.bench NAME...` those. A bench is a module of this package
with `run() -> report.Table`; what else is here has no `run`.
"""
