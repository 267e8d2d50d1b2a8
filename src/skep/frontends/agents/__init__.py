"""The WebSocket by which agents dial in: ``/api/agents/link`` (docs/formats/agent-link.md)."""
