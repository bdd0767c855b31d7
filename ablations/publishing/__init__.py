"""Runs of a study in trackers, published from the ledger by a process beside the study's command.

Training knows nothing of trackers, and no tracker can slow or fail a run: what is shown of a run is
what the ledger holds of it.
"""
