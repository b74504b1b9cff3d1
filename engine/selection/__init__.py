"""Choosing rows: budgets and quotas, who may go in, strategies by score, weights; submodular choice by kernels."""
