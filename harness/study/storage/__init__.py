"""What a study keeps between runs: the Optuna storage, its lock, its identity, its trials."""
