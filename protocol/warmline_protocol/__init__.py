"""What warmline says on the wire: sans-IO, no clock, no randomness, no sockets.

Bytes and events come in, bytes and events go out. The Trio code in ``warmline`` and the page in
``node/webclient`` both speak what is defined here, and the committed vectors hold both to it.
"""
