"""Commands as data, and what runs them: this machine, a host over SSH, or a recording.

``records`` says what a command and a result are, ``protocol`` what a runner must do.
"""
