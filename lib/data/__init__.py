"""Data to train, test and show the app with: synthetic images with exact masks, and real ones.

:func:`lib.data.phantoms.make_phantom` draws one random 2D image of many kinds (for training),
:mod:`lib.data.anatomy` draws whole volumes (for the sample study). Both render the same seeded
body plans (:mod:`lib.data.abdomen`, :mod:`lib.data.brain`). :mod:`lib.data.pool` reads real
images; :mod:`lib.data.stream` mixes both, seen from random viewpoints in random tones. Nothing
here imports torch.
"""
