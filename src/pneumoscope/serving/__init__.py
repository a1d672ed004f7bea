"""The detector behind HTTP: a service other programs use, and a page for people. Needs `pneumoscope[serve]`."""
