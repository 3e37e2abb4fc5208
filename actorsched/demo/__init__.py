"""The main job, `actorsched demo`: a tree of files, fingerprinted and compressed in host processes.

The law of this package: it is written as a user of actorsched would write it, with the public classes and
functions only. What it knows about files, numbers and words is apart from what it does with the runtime.

How it works: `files` finds what is to be done; `steps` are the functions of the pipeline, which run in
threads and hosts; `results` is the folder that results go to; `tally` counts what has happened, `words` says
it, `display` shows it; `quiet` keeps away what is no news; `job` puts all of them together.
"""

from __future__ import annotations


class BadUsage(Exception):
    """What was asked for cannot be done as it was asked; the message is one line that says why."""
