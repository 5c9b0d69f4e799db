"""How fast is the kit beside its peers, on one machine, in one run? `python -m benchmarks --help`; README.md says how to read the table."""
