"""`python -m harness.regress`: has training become slower? Imports nothing, so --help is fast.

compare/ selftest/ record/ trend/  one folder for each command
sides/ measuring/ verdict/         what the commands share: the sides, their timing, the verdicts
timed_workload                     what is timed: a grid or a file of steps
history                            the file to which record appends and which trend reads
terminal_output, report_parts, json_files
                                   what the commands' output, reports and result files share
"""
