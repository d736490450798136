"""Telling people: alerts on their way to webhooks and group robots, beside the decisions and never in their way.

`texts` says what is said, `bodies` how each kind of receiver wants it, `guard` where requests may go, `sender` sends
one, `answers` judges what came back, `courier` is one destination's queue, `notifier` keeps the couriers of all pools.
"""
