"""Many users at one server, and what may happen to it: parts of soak.py and check_saves.py."""
