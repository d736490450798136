"""The operator's part of the benchmarks: a fleet of pools that the real operator looks after.

`cluster`, `account` and `pages` are programs of their own: the Kubernetes API, the cloud with its servers, and what the
dispatchers' metrics say. The operator runs beside them, alone on its core, so that its figures are its own.
"""
