"""Saving traffic on the way between servers and clients: `spec.traffic.optimization`, as far as a proxy can."""
