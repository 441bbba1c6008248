"""What there is to choose from."""

from __future__ import annotations


def list_datasets() -> list[str]:
    """Names for ``load_dataset``; a path to your own images works, too.

    >>> "omniglot" in fs.list_datasets()
    True
    """
    from episodes.datasets.cards import DATASETS

    return [name for name in DATASETS if name != "folder"]


def list_methods() -> list[str]:
    """Names for ``build`` and ``RunConfig(model=...)``, with those of installed packages.

    >>> "proto" in fs.list_methods()
    True
    """
    from fewshot.models.methods import METHODS

    return [*METHODS]


def list_losses() -> list[str]:
    """Names of the losses; each is a method of the same name, too.

    >>> "triplet" in fs.list_losses()
    True
    """
    from fewshot.models.losses import LOSSES

    return [*LOSSES]


def list_encoders() -> list[str]:
    """Names of the built-in encoders; every name that torchvision or timm knows works, too.

    >>> "conv4" in fs.list_encoders()
    True
    """
    from fewshot.models.encoders import ENCODERS

    return [*ENCODERS]


def list_readouts() -> list[str]:
    """Ways to classify frozen embeddings.

    >>> "simpleshot" in fs.list_readouts()
    True
    """
    from fewshot.models.readouts import READOUTS

    return [*READOUTS]


def list_protocols() -> list[str]:
    """The cells of the field's tables, by the names that stand in records.

    >>> "omniglot-vinyals-28/5w1s/q15@v1" in fs.list_protocols()
    True
    """
    from fewshot.records.protocols import standard_protocols

    return [str(protocol) for protocol in standard_protocols()]


def list_paper_tables() -> list[str]:
    """Names for ``paper_table``.

    >>> "snell2017-table1" in fs.list_paper_tables()
    True
    """
    from fewshot.records.paper_tables import paper_table_names

    return [*paper_table_names()]
