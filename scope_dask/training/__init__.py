"""Labelled features → model artefacts: data sets, splits by star, XGBoost classifiers."""
