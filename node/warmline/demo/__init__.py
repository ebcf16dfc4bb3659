"""`warmline demo`: the whole story on one machine, with real processes and real commands.

Nothing here speaks the protocol. The demo types what people would type, reads what their programs print, kills what
may die, and afterwards reads what every party was left with: stores, logs, memory of peers, sockets and the chain.
What it reports is read, not asserted; so a promise of the design that stops holding shows here first.

processes  start programs, read their JSON lines, wait for events under deadlines, end them whatever happens
stage      who and what is on it: nodes, supporters, seekers, and what was measured
casting    the people: names, words and wishes, each unlike any other text so that traces can be told apart
steps      the story, one function a step, in order
ledger     what became of every message that anybody sent
sockets    who is connected to whom, read from the kernel
evidence   what each party saw, compared with what it may see
tables     how it is told: progress, two tables, JSON
"""
