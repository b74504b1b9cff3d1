"""Choosing rows: sizes, who may go in, strategies by score, weights; submodular choice by similarity kernels."""
