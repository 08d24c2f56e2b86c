"""Command lines over ``lib``; a package so that a command can have parts of its own."""
