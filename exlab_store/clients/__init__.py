"""Other processes that use a store: the doctor, the kit, the bench and the demo tell them what to do.

`client` is what all of them ask, `process` starts one, `serving` is its other side, `requests` and `work` are what it
can be told to do, and `witness` judges what is written meanwhile.
"""
