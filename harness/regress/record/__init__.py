"""The command record: it times the working tree and appends what came out to a history.

run        history, workload, blocks and the new line, in this order
recording  the blocks of one side: timed, and as a history keeps them
terminal_output    progress, the table and the remarks, on a terminal and as Markdown
"""
