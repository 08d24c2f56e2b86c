"""Images without torch: geometry, intensity, reading volumes, writing label maps.

Axis order, everywhere below this line: a volume is ``(I, J, K)`` in the file's own voxel order
(i = column = x, j = row = y, k = slice); a 2D image is ``(H, W)`` or ``(H, W, 3)`` with the row
first, as the network and every drawing library expect it. `lib.imaging.grid.Volume.slice` is the
one place that turns the first into the second.
"""
