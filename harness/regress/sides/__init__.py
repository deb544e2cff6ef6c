"""The two sides of a comparison: what they are, where they run, and the processes they run in.

side              what a side is: parses the texts of --base and --head
side_environment  where a side runs: its Python, its code and its steps
native_kernels    compiles the C sources of a side's tree
workspace         the temporary folder with worktrees and environments
side_client       starts and asks the worker process of a side
worker_answers    what a worker answers
side_worker       runs in the side's Python: loads, times, profiles steps. Imports torch alone
grid_program      runs in the side's Python: the benchmarks of a grid as steps
inject_slowdown   runs in the side's Python: real extra work, for selftest
"""
