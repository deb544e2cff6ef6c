"""Child processes: the client of a JSON-lines worker, and children that die with their parent.

Standard library only.
"""
