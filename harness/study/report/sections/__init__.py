"""The sections of a study's report, one file for each.

A section is a file with a function `section(context)`. It takes a StudyContext and returns a
Section: a key, a title, and blocks (paragraphs, tables, pictures with a table). If its numbers were
not measured, it returns `context.not_measured(key, title, reason)`. The report then lists the
reason. It returns None if the study does not ask for it.

To add a section:

1. Write the file with `section(context)`. It takes every number from `context.summary` and every
   text from `context.messages`. It reads no file.
2. Add its texts to rendering/messages/en.toml, under a table of its own.
3. Add the file to SECTIONS in study_report.py. Add the names of its figures to STUDY_FIGURES there.

The files, in the order of the report:

    answer.py            the answer in a few sentences, and the first figure (no section)
    published_numbers.py published numbers compared with ours
    memory_spans.py      memory spans and the comparison of cells
    claims.py            claims compared with the memory spans
    extrapolation.py     solved runs on longer sequences
    learning_curves.py   learning curves
    memory_speed.py      memory span against training speed
    latency.py           latency and bytes of the winners
    throughput.py        training speed against hidden size and sequence length
    winners.py           the best trial of each search
    sensitivity.py       importance of each hyperparameter
    expected_best.py     expected best against the number of trials
    gradients.py         gradient gain against lag
    gates.py             what the gates do
    time_scales.py       time scales of the units
    failed_trials.py     trials that failed or were pruned
    caveats.py           what limits the conclusions
    command.py           the commands that repeat the study and the report
    latex.py             a table and a paragraph of methods in LaTeX
"""
