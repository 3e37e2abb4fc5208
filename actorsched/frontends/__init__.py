"""Five task systems that people know, on one runtime: each module has the names of one of them.

The law of this package: it is built on the public face of actorsched alone, as a user's code would be, and
decides nothing about scheduling. A front end translates names, statuses and errors; what it is asked to do
becomes tasks of the runtime that all of them share (`_shared`), under ids that are valid in each (`_jobs`).
"""
