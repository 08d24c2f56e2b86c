"""The OHIF viewer that MONAI Label serves, driven in a real browser."""
