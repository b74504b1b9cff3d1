"""Influence Distillation: landmarks, regression, scores and their fidelity."""
