"""The process engine's program on a host: Python 3.9 or later, nothing but its standard library and no module of ours.

    python3 -I -S HELPER ROOT VERB [ID]        JSON on standard input, JSON on standard output

HQ sends it once as one archive, and speaks to it through a shell. ``supervise`` is what stays: one small process beside
each job, in a session of its own, which outlives whoever started it. What always holds:

- A job's directory is complete or not there: it is made under another name and renamed.
- A job has at most one supervisor: it holds the flock on ``lock`` for as long as it lives, and nobody inherits it.
- ``state.json`` is what the supervisor last knew, replaced atomically. It is believed only while the lock is held, or
  when it says that the job has ended; else the process itself is looked for, by its pid and the time of its start.
- A job writes into pipes with names (FIFOs), both ends of which it holds itself: if its supervisor is killed it waits
  with its output rather than dies, and the next supervisor goes on with the same process.
- Everything that a job started is found again: by its session, its control group and a token in its environment.

    ROOT/images/DIGEST/          trees
    ROOT/volumes/NAME/
    ROOT/jobs/ID/                job.json (what and whose), wanted.json (run or stop), state.json, lock,
                                 work/ (its copy of the tree), out, err (FIFOs), log, log.1 … (its output)
"""
