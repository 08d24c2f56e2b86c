"""A data set packed into tar files that are read as streams, from a disk or over HTTP.

`pack` writes them, `stream` reads them in shuffled order, `places` reads bytes from either place.
"""
