"""Stores of asynchronous tasks: which ones there are, and what came of them.

`base` is the contract; `memory` and `sqlite` keep it. The order of tasks is none of theirs.
"""
