"""A thin Kubernetes client over aiohttp, shared by operator and dispatcher.

Lives here: how to connect, the verbs, typed errors, and list-and-watch. May not live here: anything about haipool's own
kinds. It exists because the official client costs 40 MB of memory in every process, and kopf's is not public.
"""
