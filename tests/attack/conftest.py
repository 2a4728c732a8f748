"""The attacks go against the same running site as tests/site: one for each module."""

from __future__ import annotations

from tests.site.conftest import site

__all__ = ["site"]
