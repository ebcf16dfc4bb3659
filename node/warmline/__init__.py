"""warmline: a peer-support line that nobody owns. How it is done, on Trio; what is said is ``warmline_protocol``."""

__version__ = "0.1.0"
