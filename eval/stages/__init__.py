"""Stages that are not done twice: what a stage gave is remembered under the digest of all that it depends on.

    code        the sources that a stage runs, as one digest
    cache       outputs by key, in one file
    remembered  the ports of a pipeline, each looking into the cache first

The pipeline itself stays the one that serves: only what its parts are is exchanged, and each part gives what it would have given.
"""
