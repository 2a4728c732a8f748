"""How far a VM can grow while it runs. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Fixed when the VM boots. Invariant: neither is less than what the VM has now."""

    max_memory_mib: int
    max_vcpus: int
