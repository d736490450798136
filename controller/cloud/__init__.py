"""The contract with the cloud, and the adapters that keep it.

`contract` and `errors` are what the operator knows; `tencent/` is the only place that imports the Tencent SDK.
"""
