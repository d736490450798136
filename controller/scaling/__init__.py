"""Pure scaling decisions: what the figures mean, which offers and victims come first, what to do next.

Everything here is a function of frozen data, with `now` passed in. No clock, no I/O, no framework: import-linter
refuses them, so that the same code runs in the operator, in tests, and over recorded traces.

Times are Unix seconds (float) throughout; money is CNY.
"""
