"""The composition root: settings to components to one ASGI application and its workers."""
