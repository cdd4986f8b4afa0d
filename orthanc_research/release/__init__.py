"""De-identified releases: a project with its key, plans, runs that can be resumed and verified, and their mapping.

`orthanc_research.Project` is the way in. Nothing is imported here: worker processes load `_work` alone.
"""
