"""What ends a benchmark before it has numbers."""


class BenchmarkError(Exception):
    """One sentence for the person who started the benchmark."""
