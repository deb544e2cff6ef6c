"""Which trials to run: search space, samplers, pruners, and the slots of each search.

search_space         the parameters of a study as Optuna distributions
samplers             the samplers, each with every argument explicit
pruners              the pruners, each with every argument explicit
propose_parameters   proposes the parameters of a slot, with a sampler and a pruner
history_for_sampler  which finished trials a sampler receives
optuna_trials        a search or a confirmation: slots with an end, in one Optuna study
trial_config         the parameters of a trial as a TrainingConfig
importances          which hyperparameter mattered
plugin_check         runs each plug-in once before a study
"""
