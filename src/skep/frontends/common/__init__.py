"""What the doors share: request heads and bodies, conditions, ranges, forms, problem details.

Pure but for ``body`` and ``answers``, which speak ASGI's ``receive`` and ``send``.
"""
