"""`python -m harness.study`: search, confirm, time, report. Imports nothing, so --help is fast.

run              all phases of a study, in order
run_context      what every phase shares: the study, its options, its storage
coordinator      hands out trials, takes back results, enforces limits
trials_to_run    what the coordinator runs: trials of a search, or winners
search/          which trials to run: search space, samplers, pruners
execution/       where trials run: the executor and its processes
storage/         what is kept between runs: the Optuna storage, its lock, the trials
phases/          what follows the search: winners, diagnostics, timing, tables
report/          the report of a study
result_files     writes the tables of a study
terminal_output  what a person sees while a study runs
disk_space       a note where the disk may be too full
"""
