"""Spaces, nodes, versions, trash and tags over the chunk service."""
