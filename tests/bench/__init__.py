"""`make bench`: what the product's own code costs, measured against references in the same run.

`__main__` is the command. Each part is a module that returns its figures: `proxying` (a real `haipool dispatcher`
against the reference proxies), `queueing`, `storing`, `memory`. `processes` starts and pins processes, `targets` knows
which; `load`, `origin` and `bareproxy` are programs of their own, cheap enough not to be what is measured; `wire` is
what these share; `report` holds the figures to their bars and shows them. Nothing here is a test; nothing fails for
being slow.
"""
