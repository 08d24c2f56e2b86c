"""What is wrong in a data set in the format of SA-Med2D-20M.

`findings` names the kinds, `pair_check` looks at one image with its masks, `look_alikes` finds
images that are there twice, `check` goes through a whole folder.
"""
