"""First-party plugin of trackers: fine-tunes are told to TensorBoard and MLflow where these are installed."""
