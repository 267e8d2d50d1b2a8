"""One module per schema revision; each is written once and never edited."""
