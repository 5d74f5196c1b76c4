"""Features → scores: the model artefacts and the stage that applies them."""
