"""A config: the reusable VM description that `config="apache_svr"` names; an xl.cfg or a libvirt domain XML."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """A config file that was read without errors. Hashable: results that depend on it alone may be cached by it."""

    name: str
    path: str  # configs/NAME.cfg or configs/NAME.xml
    text: str
