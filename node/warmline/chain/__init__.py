"""The Ethereum side of a node: what it reads of the chain, and what a person signs for it.

``source.open_chain`` is all that a node needs: a `StandingSource` that follows the contracts' events over plain
JSON-RPC (`provider`, `events`, `reorg`, `follower`). web3 is imported only by what a person runs (`contracts`,
`wallet`, `transactions`), because it costs a second and 20 MiB that a relay node would pay for nothing.
``devchain`` is the embedded chain behind `warmline chain dev`; it needs the `devchain` extra.
"""
