"""Many trials: space, proposals, the coordinator, executors, storage, resume. Never writes a result file.

configuration.py   a study file's parameters as Optuna distributions, and their values as a TrainingConfig
arguments.py       what samplers and pruners are given
proposals.py       samplers and pruners, slot by slot
history.py         what a sampler is shown of the finished trials
storage.py         the Optuna storage: opening, locking, identity
ledger.py          one Optuna study of the storage: what each slot was given and how it ended
series.py          a search, or the confirmation of its winner: slots with an end
coordinator.py     hands out trials, takes back results, enforces limits
messages.py        what coordinator and workers say to each other: plain data
local.py           the executor of this machine; forkserver.py and worker.py are its processes
standby.py         a fork server's process, started before it is needed
importances.py     which hyperparameter mattered
"""
