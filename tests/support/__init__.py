"""Shared by all tests: hosts in this process, nodes in other processes, raw sockets and raw frames."""
