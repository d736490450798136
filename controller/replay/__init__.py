"""What-if: a trace of tasks through the production scaling and queue code, under a virtual clock.

`trace` reads tasks, `loads` makes them up; `machines` are the servers' lives and `desk` is the dispatcher's part, the
fair queue included; `engine` lets time pass and asks `controller.scaling` for every decision, on snapshots as the
operator builds them; `outcome` is what came of it. Only `command` touches files, the terminal and real time.
"""
