"""A site on one machine: hosts that only libvirt's test driver knows, and a walk through XSM on them."""
