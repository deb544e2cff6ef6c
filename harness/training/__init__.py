"""One trial: the model (a cell and a linear head), one optimiser step, the training loop.

model.py           cell + head = model, from plain values and a seed
optimizer_step.py  one optimiser update, and the optimisers
training_loop.py   train one configuration and evaluate it on a schedule
"""
