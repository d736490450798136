"""The life of one HAI instance, one file per step: launch, deploy, serve, terminate.

Each step is a function `(Services, GpuInstance) -> seconds until the next look`. It writes its intent before it calls
the cloud, can be repeated after a crash at any await, and treats an unclear answer as unclear.
"""
