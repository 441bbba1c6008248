"""What the import hook of conftest.py puts around our functions: every call is held to its annotations."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # a whole number is welcome where a float is
