"""`haipool explain POOL`: what a pool has, what it wants, why, what it waits for, and what it did.

Reads the Kubernetes API only, with the rights of the role `view`; the operator need not run. `gather` reads,
`explanation` puts the facts together (and is what `--output json` prints), `text` says them in words.
"""
