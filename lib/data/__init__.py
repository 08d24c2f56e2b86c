"""Data to train, test and show the app with: so far synthetic images with exact masks.

Two entry points: :func:`lib.data.phantoms.make_phantom` draws one random 2D image of many kinds
(for training), :mod:`lib.data.anatomy` draws whole volumes (for the sample study). Both render
the same seeded body plans (:mod:`lib.data.abdomen`, :mod:`lib.data.brain`). Nothing here imports
torch.
"""
