"""`haipool ship`: sends the record files of a folder to Tencent CLS, at least once, and remembers how far it is.

A process of its own, so that no cloud credentials and no slow cloud come near the tasks. The files are the truth: what
cannot be sent yet waits in them. Lives here: lines into log groups, offsets, the loop. May not live here: anything that
writes records or knows the SDK.
"""
