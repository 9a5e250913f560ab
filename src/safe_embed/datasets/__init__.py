"""Data sets: their catalogue, the formats that are read, checks, and the download."""

from safe_embed.datasets.beavertails import HeadTail, load_head_tail, sample_head_tail
from safe_embed.datasets.catalogue import DataSet, fetch, load, locate
from safe_embed.datasets.catalogue import row as catalogue_row
from safe_embed.datasets.catalogue import rows as catalogue_rows
from safe_embed.datasets.check import CheckReport, check_file
from safe_embed.datasets.columns import KINDS, Kind, Record
from safe_embed.datasets.core_set import (
    CORE,
    CORE_PARTS,
    CoreRecord,
    Part,
    Split,
    contrast_sets_of,
    core_digest,
    load_core,
    pairs_of,
    prompts_of,
)
from safe_embed.datasets.download import Progress
from safe_embed.datasets.formats import Defect, RecordFile, load_records, read_records
from safe_embed.datasets.tables import Problem, Row, read_parquet, read_table, write_parquet

__all__ = [
    "CORE",
    "CORE_PARTS",
    "KINDS",
    "CheckReport",
    "CoreRecord",
    "DataSet",
    "Defect",
    "HeadTail",
    "Kind",
    "Part",
    "Problem",
    "Progress",
    "Record",
    "RecordFile",
    "Row",
    "Split",
    "catalogue_row",
    "catalogue_rows",
    "check_file",
    "contrast_sets_of",
    "core_digest",
    "fetch",
    "load",
    "load_core",
    "load_head_tail",
    "load_records",
    "locate",
    "pairs_of",
    "prompts_of",
    "read_parquet",
    "read_records",
    "read_table",
    "sample_head_tail",
    "write_parquet",
]
