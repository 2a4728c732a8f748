"""XSM, the Xen Site Manager: runs a site of Xen and KVM hosts from one file kept in version control."""

__version__ = "0.1.0"
