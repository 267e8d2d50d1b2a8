"""The page: the built files of ``web/``, served as they are. What the page can do is the public API's alone."""
