"""Predictions: scores of fields in files, combined, sampled, and as a catalogue of sources."""
