"""NN-CIFT: a tiny network learns an influence function from a labelled block (`training`) and says it of all pairs."""
