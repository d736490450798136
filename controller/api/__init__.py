"""The facts every process shares: the three kinds as typed models, names, labels, conditions, metric names.

What may live here: frozen data, constants, and pure functions over them. What may not: I/O, clocks, decisions.
`crds/` is generated from these models (`python -m controller.api.crd`), so a field exists in one place.
"""
