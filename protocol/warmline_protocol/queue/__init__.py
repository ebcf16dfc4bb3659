"""Queues, doors and room logs: numbered 4096-byte cells that a node keeps and cannot read.

``log`` holds the rules as a value that changes, ``messages`` the wire, ``auth`` who may do what, ``work`` the price of
a crowded door. The theory and every refusal code are in protocol/queues.md.
"""
