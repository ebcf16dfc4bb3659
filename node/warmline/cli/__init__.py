"""The command line: one file a noun, imported only when that noun is asked for."""

from warmline.cli.root import main

__all__ = ["main"]
