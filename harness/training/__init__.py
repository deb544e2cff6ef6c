"""One trial: the model (a cell and a linear head), one optimiser step, the training loop."""
