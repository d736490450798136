"""`haipool demo`: the fair queue's own example as real load on the sandbox, shown live and checked at the end.

`evidence` is what was measured, `rules` the pure checks over it, `summary` what is printed. Nothing here computes
what it could measure: the order comes from the dispatcher's answers, money and stock from the simulated cloud's
ledger, decisions from the operator's objects.
"""
