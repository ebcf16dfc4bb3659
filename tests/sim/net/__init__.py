"""A network in memory under the real node code: Trio's mock clock, seeded links and faults.

``links`` moves segments between endpoints, ``transport`` is what a libp2p host sees of it, ``shims`` take the
machine's clock and randomness out of the libraries, ``world`` runs whole nodes built by ``build_node``.
"""
