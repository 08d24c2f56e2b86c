"""Parts of scripts/supply.py: packages, their licences, bill of materials, audit."""
