"""Fixtures of the API's tests; see running_server.py."""

from running_server import local, pki, remote, running

__all__ = ["local", "pki", "remote", "running"]
