"""Asynchronous tasks (RFC 7240): a client hands a task in, goes away, and comes back for the answer.

`lifecycle` takes them from their coming to their end, `attempts` is what the executor sees of one, `board` tells who
watches. `api`, `events` and `status` are what clients see.
"""
