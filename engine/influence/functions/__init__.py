"""Influence functions, one file each and all of one shape (`base`): DELIFT, DELIFT (SE), LESS, SelectIT, RDS+."""
