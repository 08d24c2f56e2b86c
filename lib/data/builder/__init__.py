"""From archives of labelled volumes and pictures to the format of SA-Med2D-20M.

`description` says what lies where, `case_list` finds the cases, `case_reader` reads one,
`slicing` makes its pictures and masks, `case_builder` writes them, `outputs` the lists of files.
The function for one case is the same on one process, on many and on many machines.
"""
