"""Data sets: named by a word, opened, fingerprinted, split, and decoded once; without torch."""

from lightning_modules.data.cache import cache_key, open_cache
from lightning_modules.data.corrupt import check_decodable
from lightning_modules.data.crops import central_square, crop, fetch, read_crop
from lightning_modules.data.errors import CorruptImageError, DataError
from lightning_modules.data.facts import DataFacts, data_facts
from lightning_modules.data.fingerprint import data_fingerprint, remembered_fingerprint
from lightning_modules.data.items import ArrayItems, DataSpec, FileItems, Items, Source
from lightning_modules.data.parallel import available_cores
from lightning_modules.data.sources import DATA_FORMATS, open_source, parse_data
from lightning_modules.data.split import split_train, train_subset, training_parts

__all__ = [
    "DATA_FORMATS",
    "ArrayItems",
    "CorruptImageError",
    "DataError",
    "DataFacts",
    "DataSpec",
    "FileItems",
    "Items",
    "Source",
    "available_cores",
    "cache_key",
    "central_square",
    "check_decodable",
    "crop",
    "data_facts",
    "data_fingerprint",
    "fetch",
    "open_cache",
    "open_source",
    "parse_data",
    "read_crop",
    "remembered_fingerprint",
    "split_train",
    "train_subset",
    "training_parts",
]
