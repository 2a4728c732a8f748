"""A lab of separate hosts on this machine, with real QEMU guests: `make lab`, `make lab-up`, `python -m tests.lab`."""
