"""The composition root: settings to components to one ASGI application and its workers.

``compose.open_hive`` builds everything, ``serve.serve`` runs it behind an HTTP server, ``setup.set_up``
makes a new hive. Import those modules; this one stays light.
"""
