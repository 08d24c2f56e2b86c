"""Numbers computed by the original implementations; see README.md beside this file."""
