"""What is kept between runs: the Optuna storage, its lock, the ledger of trials."""
