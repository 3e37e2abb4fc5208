"""Decisions, and nothing else.

The law of this package: a module here is given an event and the present time, and answers with new state and
with what should be done. It never reads a clock, draws a random number, waits, writes a log, or touches a
process, a thread or an event loop; it imports the vocabulary, its neighbours, and plain parts of the standard
library. So everything here is tested by calling it, and a wrong decision can be replayed from a log.
"""
