"""The command compare: base and head in the same run."""
