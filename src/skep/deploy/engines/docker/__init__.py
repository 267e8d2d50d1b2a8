"""Containers as jobs, through the API of a Docker or Podman daemon: by its socket, or over SSH.

``engine`` has the verbs, ``containers`` turns specs into containers and back, ``images`` ships and builds, ``probing``
asks ports, ``wire`` speaks to the daemon and turns its errors into ours.
"""
