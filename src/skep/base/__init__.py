"""What every package stands on: ids, errors, clock, settings, workers, limits, logs."""
