"""Live changes at ``/api/events``: WebSockets and Server-Sent Events (docs/events.md)."""
