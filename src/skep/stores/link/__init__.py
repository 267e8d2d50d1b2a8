"""The link between a hive and an agent that lends disk: frames, messages, and both ends' way with them.

Format page: docs/formats/agent-link.md. Nothing here opens a socket: either end hands in a function that sends one
message and feeds what it receives, so that the hive's web server and the agent's WebSocket client share all of it.
"""
